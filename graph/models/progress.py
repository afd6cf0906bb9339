"""Progress reports about what a model makes people wait for: its download, its start, and reading a prompt.

On a CPU reading a prompt takes longer than writing the reply. Only the embedded models report progress.

    with progress_told_to(listener):
        await graph.ainvoke({"question": "..."})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol


class Listener(Protocol):
    """Receives progress reports, possibly from another thread."""

    def stage(self, words: str) -> None:
        """Something starts, e.g. "loading the model"; an empty text says that the model is ready."""

    def progress(self, done: float, total: float, unit: str) -> None:
        """How much is done; the unit is tokens or MB."""


_listener: ContextVar[Listener | None] = ContextVar("progress", default=None)


@contextmanager
def progress_told_to(listener: Listener) -> Iterator[None]:
    """Send progress inside the block to the listener, from all tasks and threads."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Listener | None:
    """The current listener, if any."""
    return _listener.get()


def note_stage(words: str) -> None:
    """Report the start of something, if there is a listener."""
    if (told := _listener.get()) is not None:
        told.stage(words)


def note_reading(event: Mapping[str, Any]) -> None:
    """Report the prompt progress in an event of llama.cpp's stream, if there is any and there is a listener."""
    progress = event.get("prompt_progress")
    if (told := _listener.get()) is not None and isinstance(progress, Mapping):
        told.progress(int(progress.get("processed", 0)), int(progress.get("total", 0)), "tokens")
