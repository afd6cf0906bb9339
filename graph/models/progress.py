"""What a model keeps people waiting for, told to whoever looks on: its download, its start, the reading of a prompt.

On a CPU a prompt is read for longer than the reply is written. The embedded models tell how far they are; others say
nothing.

    with progress_told_to(listener):
        await graph.ainvoke({"question": "..."})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol


class Listener(Protocol):
    """Is told what goes on, possibly from another thread."""

    def stage(self, words: str) -> None:
        """Something begins, such as "loading the model"."""

    def progress(self, done: float, total: float, unit: str) -> None:
        """So much of it is done; the unit is tokens or MB."""


_listener: ContextVar[Listener | None] = ContextVar("progress", default=None)


@contextmanager
def progress_told_to(listener: Listener) -> Iterator[None]:
    """Tell the listener of what is waited for inside the block, in whatever task or thread it happens."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Listener | None:
    """Who looks on, if anybody does."""
    return _listener.get()


def note_stage(words: str) -> None:
    """Say what begins now, if anybody looks on."""
    if (told := _listener.get()) is not None:
        told.stage(words)


def note_reading(event: Mapping[str, Any]) -> None:
    """Pass on what an event of llama.cpp's stream says of the prompt, if it says anything and anybody looks on."""
    progress = event.get("prompt_progress")
    if (told := _listener.get()) is not None and isinstance(progress, Mapping):
        told.progress(int(progress.get("processed", 0)), int(progress.get("total", 0)), "tokens")
