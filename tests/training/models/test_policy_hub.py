"""A model that is on the Hub, while the Hub is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from graph.errors import ConfigError
from training.models.policy import load_policy, load_tokenizer
from training.models.shapes import config_of

CLOSED = "http://127.0.0.1:9"


@pytest.mark.parametrize("load", [load_policy, load_tokenizer, config_of])
def test_the_hub_is_named_and_not_asked_again_and_again(
    load: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", CLOSED)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert callable(load)
    with pytest.raises(ConfigError, match=f"The Hub at {CLOSED} cannot be reached .*refused"):
        load("nobody/nothing")
    assert "Retrying" not in caplog.text
