"""A line now and then in a log that would otherwise be silent."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

EVERY: Final = 60.0
"""Seconds between two lines."""


@contextmanager
def heartbeat(line: Callable[[], str], every: float = EVERY) -> Iterator[None]:
    """Write a line to standard error at intervals for as long as the block takes; nothing in a terminal.

    Args:
        line: What goes on; called on another thread.
        every: Seconds before the first line and between two.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(every):
            sys.stderr.write(f"  {line()}\n")
            sys.stderr.flush()

    if not sys.stderr.isatty():
        threading.Thread(target=repeat, name="log", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
