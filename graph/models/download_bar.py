"""Download progress on standard error: a bar in a terminal, otherwise a line from time to time.

If there is a listener (`graph.models.progress`), it is informed instead.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from graph.models.progress import listener

LINE_EVERY: Final = 10.0
"""Seconds between two lines without a terminal."""


@dataclass(frozen=True)
class Display:
    """The display of one download."""

    there: Callable[[int], None]
    """Called with the number of bytes so far."""
    stage: Callable[[str], None] = lambda _: None
    """Called with a description of the current step, e.g. the source of the file."""


@contextmanager
def download_bar(name: str, size: int) -> Iterator[Display]:
    """Show a download while the block runs.

    Args:
        name: Name of the file.
        size: Its size in bytes.
    """
    if (told := listener()) is not None:
        yield Display(
            there=lambda there: told.progress(there / 1e6, size / 1e6, "MB"),
            stage=lambda words: told.stage(f"fetching {name} {words}"),
        )
        return
    if not sys.stderr.isatty():
        yield _lines(name, size)
        return
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.SpinnerColumn(),
        rich.TextColumn("{task.description}"),
        rich.BarColumn(bar_width=20),
        rich.DownloadColumn(),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(compact=True),
    )
    with rich.Progress(*columns, console=Console(stderr=True)) as bar:
        bar.console.print(f"Fetching {name}, once; later runs find it in the cache.", highlight=False)
        task = bar.add_task("", total=size)
        yield Display(
            there=lambda there: bar.update(task, completed=there),
            stage=lambda words: bar.update(task, description=words),
        )


def _lines(name: str, size: int) -> Display:
    last = 0.0

    def there(count: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            say(f"{count / 1e6:.0f} of {size / 1e6:.0f} MB")

    def say(words: str) -> None:
        sys.stderr.write(f"{name}: {words}\n")

    return Display(there, say)
