"""A line now and then in a log that would otherwise be silent."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

FIRST: Final = 5.0
"""Seconds before the first line."""
EVERY: Final = 60.0
"""Seconds between two lines."""


@contextmanager
def heartbeat(line: Callable[[], str], first: float = FIRST, every: float = EVERY) -> Iterator[None]:
    """Write a line to standard error at intervals for as long as the block takes; nothing in a terminal.

    Args:
        line: What goes on; called on another thread.
        first: Seconds before the first line.
        every: Seconds between two lines.
    """
    ended = threading.Event()

    def repeat() -> None:
        wait = first
        while not ended.wait(wait):
            sys.stderr.write(f"  {line()}\n")
            sys.stderr.flush()
            wait = every

    if not sys.stderr.isatty():
        threading.Thread(target=repeat, name="log", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
