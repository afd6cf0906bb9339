"""What the system allows this process."""

from __future__ import annotations

import contextlib
import sys

_ENOUGH = 65_536


def open_more_files() -> None:
    """Lift the limit on open files as far as a process may: hundreds of rollouts have connections and programs."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(_ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # a system that lets nobody
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch has a class for that of GPUs, and raises a plain RuntimeError for the machine's."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error)
