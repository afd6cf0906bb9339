"""A model that llama.cpp loads in a moment."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model as a GGUF file."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    pytest.importorskip("xllamacpp", reason="the extra `embedded` is not installed")
    from tests.training.support.tiny_gguf import tiny_gguf
    from tests.training.support.tiny_model import tiny_model
    from training.export.gguf import write_gguf

    folder = tmp_path_factory.mktemp("model")
    model = tiny_model()
    write_gguf(model, tiny_gguf(model, "qwen2", folder / "base.gguf"), folder / "tiny.gguf")
    return folder / "tiny.gguf"
