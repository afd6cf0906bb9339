"""The file that a user names for an output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """A file that becomes the named one when all of it is written; what a link leads to is replaced, not the link.

    A device or a pipe is written to directly: a file in its place would take it away from everybody. So is what our own
    output goes to (`/dev/stdout`), also where that is a file.

    Raises:
        OSError: it cannot be written; a file that was there is unchanged.
    """
    if (stream := _stream(path)) is not None:
        sys.stdout.flush()
        with os.fdopen(os.dup(stream), "wb") as file:
            yield file
        return
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


def _stream(path: Path) -> int | None:
    """The standard stream, if any, that goes to what a path names."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
    return None
