"""How far a prompt has been read, as real llama.cpp tells it, and what it says of a prompt that is too long."""

from __future__ import annotations

from pathlib import Path

import pytest

from graph.errors import ContextLengthExceeded
from graph.models.embedded import EmbeddedChat
from graph.models.embedded_server import READ_AT_ONCE
from graph.models.progress import note_reading, progress_told_to
from graph.models.server_settings import ServerSettings

SYSTEM = " ".join(f"Rule {number}: count the ships." for number in range(60))


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.read: list[tuple[float, float]] = []

    def stage(self, words: str) -> None:
        self.stages.append(words)

    def progress(self, done: float, total: float, unit: str) -> None:
        assert unit == "tokens"
        self.read.append((done, total))


def embedded(gguf: Path, context: int) -> EmbeddedChat:
    settings = ServerSettings(slots=1, context=context, threads=1)
    return EmbeddedChat(model=str(gguf), settings=settings, temperature=0.0, max_tokens=4)


async def test_reading_is_told_piece_by_piece(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path))
    heard = Heard()
    question = [("system", SYSTEM), ("user", "How many ships are there? " * 50)]
    with progress_told_to(heard):
        chunks = [chunk async for chunk in embedded(gguf, 4096).astream(question)]
    assert len("".join(str(chunk.text) for chunk in chunks)) > 0
    assert heard.stages == ["loading the model", ""]
    told = heard.read
    static, whole = min(total for _, total in told), max(total for _, total in told)
    assert 2 * READ_AT_ONCE < static < whole, "first the beginning that is kept, then the prompt"
    for total in (static, whole):
        pieces = [read for read, of in told if of == total]
        assert pieces == sorted(pieces)
        assert len(pieces) > 2
        assert pieces[-1] == total


async def test_a_prompt_that_does_not_fit_names_the_setting(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path))
    with pytest.raises(ContextLengthExceeded, match="AGENTFLOW_EMBEDDED_CONTEXT to more than 256") as raised:
        await embedded(gguf, 256).ainvoke(SYSTEM)
    assert str(raised.value).startswith("The embedded model cannot take a prompt of this length")
    assert "127.0.0.1" not in str(raised.value)


def test_nobody_need_listen() -> None:
    note_reading({"prompt_progress": {"processed": 1, "total": 2}})
