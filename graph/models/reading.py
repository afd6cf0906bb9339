"""How far a model has read its prompt, for people who wait: on a CPU that takes longer than the reply.

    with reading_told_to(lambda read, total: print(f"{read} of {total} tokens")):
        await graph.ainvoke({"question": "..."})

Models that cannot tell it (all but the embedded ones) say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Listener = Callable[[int, int], None]
"""Called with the tokens that have been read and the tokens that the prompt holds."""

_listener: ContextVar[Listener | None] = ContextVar("reading", default=None)


@contextmanager
def reading_told_to(listener: Listener) -> Iterator[None]:
    """Tell the listener of every prompt that is read inside the block, from whatever task or thread."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def is_watched() -> bool:
    """Whether anybody wants to know, so that the server need not say it otherwise."""
    return _listener.get() is not None


def note_reading(event: Mapping[str, Any]) -> None:
    """Pass on what an event of llama.cpp's stream says of the prompt, if it says anything."""
    listener = _listener.get()
    progress = event.get("prompt_progress")
    if listener is not None and isinstance(progress, Mapping):
        listener(int(progress.get("processed", 0)), int(progress.get("total", 0)))
