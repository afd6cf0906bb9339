"""What one run of the sandbox may use, and how many runs there may be at once."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass

from tools.places import Places

MIB = 2**20

MOST_PARALLEL = 128
"""Programs at one time, on a machine with memory for them."""

BRIEF = 0.5
"""Seconds for which a program has a core's place; starting, and most programs whole, take a tenth."""

_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

cores = Places(_CORES)
"""As many programs start at once as there are cores: more would only slow each other, and the event loop, down."""

_FILES, _OTHER_FILES = 12, 640
"""Descriptors that a running program takes here, and those that are left to others (connections to model servers)."""


def share_cores(processes: int) -> None:
    """In each of several processes that run programs beside each other, before the first one."""
    global cores
    cores = Places(max(1, _CORES // processes))


@dataclass(frozen=True)
class Limits:
    """What one run may use."""

    seconds: float = 20.0
    """Wall time, from handing over the code."""
    memory_mb: int = 1024
    """MiB of memory, of each process (address space) and of all together (pages in use, files in `/tmp`)."""
    processes: int = 32
    """Processes and threads at one time."""
    output_kb: int = 64
    """KiB of output, and characters of a value or message in 1024s."""
    scratch_mb: int = 64
    """MiB in `/tmp`, and of a single file."""

    def __post_init__(self) -> None:
        for name, least in (("seconds", 0.1), ("memory_mb", 64), ("processes", 4), ("output_kb", 1), ("scratch_mb", 1)):
            value = getattr(self, name)
            if not value >= least or math.isinf(value):
                raise ValueError(f"The sandbox's limit {name} is {value}; it must be a number from {least} up.")

    def rlimits(self) -> dict[str, int]:
        """The limits that the kernel enforces on each process, by their name in `resource`."""
        return {
            "RLIMIT_AS": self.memory_mb * MIB,
            # The wall clock ends a run first; this ends what no watcher watches any more.
            "RLIMIT_CPU": math.ceil(self.seconds) + 2,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_FSIZE": self.scratch_mb * MIB,
            "RLIMIT_NOFILE": 256,
            "RLIMIT_CORE": 0,
            "RLIMIT_MSGQUEUE": 0,
        }

    def most_parallel(self) -> int:
        """How many runs at once this machine has memory for, though few use all of theirs, and this process files."""
        if sys.platform != "linux":
            return MOST_PARALLEL
        import resource

        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        by_files = MOST_PARALLEL if files == resource.RLIM_INFINITY else (files - _OTHER_FILES) // _FILES
        return max(4, min(MOST_PARALLEL, memory // (self.memory_mb * MIB), by_files))
