"""`engine: auto` and `agent_model: base`: what they mean on which machine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from graph.errors import ConfigError
from tests.training.support.tiny_model import tiny_model
from tests.training.support.vllm_standin import StandIn
from training.engines.kinds import advice, chosen
from training.engines.vllm.child import ChildServer, Launch
from training.flow_grpo import own_server
from training.flow_grpo.config import FlowGRPOConfig


def config(**settings: Any) -> FlowGRPOConfig:
    return FlowGRPOConfig(**{"model": "m", "out": "o", "tasks": "t", **settings})


@pytest.mark.parametrize(
    ("settings", "gpu", "vllm", "engine"),
    [
        ({}, True, True, "vllm"),
        ({}, True, False, "transformers"),
        ({}, False, True, "transformers"),
        ({"vllm_url": "http://x/v1"}, False, False, "vllm"),
        ({"lora_rank": 0}, True, True, "transformers"),
        ({"deterministic": True}, True, True, "transformers"),
        ({"replay": "folder"}, True, True, "transformers"),
        ({"engine": "transformers"}, True, True, "transformers"),
        ({"engine": "vllm"}, False, False, "vllm"),
    ],
)
def test_auto_is_vllm_where_it_can_be(settings: dict[str, Any], gpu: bool, vllm: bool, engine: str) -> None:
    assert chosen(config(**settings), gpu=gpu, vllm=vllm) == engine


def test_one_of_several_processes_starts_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert chosen(config(), gpu=True, vllm=True) == "transformers"
    with pytest.raises(ConfigError, match="set vllm_url"), own_server.OwnServer(config(engine="vllm")):
        pass


def test_a_sentence_says_that_vllm_is_the_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(own_server, "has_gpu", lambda config: True)
    monkeypatch.setattr(own_server, "installed", lambda command: False)
    with caplog.at_level(logging.WARNING):
        assert own_server.with_engine(config()).engine == "transformers"
    assert "pip install vllm" in caplog.text
    assert caplog.text.count("\n") == 1
    plain = config(engine="transformers")
    assert "leave out the setting `engine`" in str(advice(plain, "transformers", gpu=True, vllm=True))
    assert advice(plain, "transformers", gpu=False, vllm=False) is None
    assert advice(config(), "vllm", gpu=True, vllm=True) is None


def test_base_is_the_model_of_the_runs_own_server_or_of_the_one_that_is_named(tmp_path: Path) -> None:
    asks = config(agent_model="base", verifier="embedded", generator="base", engine="vllm")
    server = ChildServer(Launch("m", "bfloat16", 64, 8), tmp_path / "log")
    resolved = own_server.with_base(asks, server)
    assert resolved.agent_model == resolved.generator == f"vllm:base@{server.url}"
    assert (resolved.verifier, resolved.executor) == ("embedded", None)
    with StandIn(tiny_model(3), "org/tiny") as named:
        resolved = own_server.with_base(config(agent_model="base", vllm_url=named.url), None)
        assert resolved.agent_model == f"vllm:org/tiny@{named.url}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"engine": "transformers", "agent_model": "base"}, "which engine: transformers does not have"),
        ({"engine": "vllm", "lora_rank": 0}, "needs vllm_url"),
        ({"engine": "vllm", "vllm_url": "http://x/v1", "lora_rank": 0, "executor": "base"}, "need another server"),
        ({"engine": "other"}, "choose one of auto, transformers, vllm"),
        ({"deterministic": True, "vllm_url": "http://x/v1"}, "deterministic"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config(**settings)


def test_base_without_a_gpu_says_what_to_name_instead() -> None:
    with pytest.raises(ConfigError, match="name another"):
        own_server.with_engine(config(agent_model="base", device="cpu"))


def test_a_gpu_that_is_not_there_is_told() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="device is cuda"):
        own_server.has_gpu(config(device="cuda"))
