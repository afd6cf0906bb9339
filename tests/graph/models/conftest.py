"""A model that llama.cpp loads in a moment, and an adapter for it."""

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


@pytest.fixture(scope="session")
def lora(gguf: Path) -> Path:
    """An adapter of the tiny model that changes what it says."""
    from tests.training.support.tiny_gguf import tiny_adapter
    from tests.training.support.tiny_model import tiny_model
    from training.export.gguf_adapter import write_gguf_adapter

    folder = gguf.parent / "adapter"
    tiny_adapter(tiny_model(), folder, size=3.0)
    write_gguf_adapter(folder, gguf, gguf.parent / "lora.gguf", name="lora")
    return gguf.parent / "lora.gguf"
