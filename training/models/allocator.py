"""Makes glibc's allocator keep freed memory, for models on the CPU.

By default, glibc returns every block above 32 MiB to the kernel at once, so the pages of each large tensor are mapped
and zeroed again in every layer; `vmstat 1` shows the system time during an update.
"""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory for the rest of this process.

    Returns:
        Whether it does: False without glibc, or if the environment (`MALLOC_...`, `GLIBC_TUNABLES`) configures it.
    """
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
