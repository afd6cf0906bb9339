"""The file that a user names for an output."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """A file that becomes the named one when all of it is written; what a link leads to is replaced, not the link.

    A device or a pipe is written to directly: a file in its place would take it away from everybody.

    Raises:
        OSError: it cannot be written; a file that was there is unchanged.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".agentflow-{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink()
