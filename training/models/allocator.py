"""Memory that a process has freed stays with it: a setting of glibc's allocator for models on the CPU.

By default glibc asks the kernel anew for every block above 32 MiB and gives it back at once, so the pages of each large
tensor are mapped and zeroed again in every layer: system time, which `vmstat 1` shows beside an update.
"""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed, for the rest of this process.

    Returns:
        Whether it is so now: False elsewhere than on glibc, and where the user's environment (`MALLOC_...`,
        `GLIBC_TUNABLES`) says something of its own.
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
