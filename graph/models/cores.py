"""The cores for llama.cpp: those this process may use, and those that nothing else keeps busy.

llama.cpp divides every operation among its threads and waits for the last one, hundreds of times per token. On a core
that another program keeps busy a thread waits for its turn each time, and all others with it: on two cores beside a
busy one, two threads of the 1.5B model wrote a token in 20 s and a single thread in 0.7 s. So a core that is busy is
better left out.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

WATCHED: Final = 0.25
"""Seconds for which the cores are watched."""
_TIMES: Final = Path("/proc/stat")
_IDLE: Final = slice(3, 5)
"""Columns of a core's times in which it had nothing to do: idle, and waiting for a disk."""
_COUNTED: Final = 8
"""Columns of a core's times; those behind are contained in them."""


def usable_cores() -> int:
    """Physical cores available to this process: hyper-threads, and threads beyond a quota, slow llama.cpp down."""
    cpus = _own_cpus()
    topology = Path("/sys/devices/system/cpu")
    siblings = {_text(topology / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in cpus}
    quota, _, period = _text(Path("/sys/fs/cgroup/cpu.max")).partition(" ")
    allowed = int(quota) // int(period) if quota.isdecimal() and period.isdecimal() else len(siblings)
    return max(1, min(len(siblings), allowed))


def free_cores() -> int:
    """The usable cores that are idle right now, at least one; all where the system does not tell. Takes `WATCHED` s."""
    usable = usable_cores()
    if usable == 1 or not (before := _text(_TIMES)):
        return usable
    time.sleep(WATCHED)
    return max(1, min(usable, round(idle_cpus(before, _text(_TIMES), _own_cpus()))))


def idle_cpus(before: str, after: str, cpus: set[int]) -> float:
    """How many CPUs were idle between two readings of `/proc/stat`, with fractions.

    Args:
        before, after: The readings.
        cpus: Numbers of the CPUs to look at.
    """
    earlier, later = _times(before), _times(after)
    idle = 0.0
    for cpu in cpus & earlier.keys() & later.keys():
        passed = [new - old for old, new in zip(earlier[cpu], later[cpu], strict=True)]
        idle += sum(passed[_IDLE]) / sum(passed) if sum(passed) else 1.0
    return idle


def _times(reading: str) -> dict[int, list[int]]:
    """The times of each CPU since the system was started, in ticks."""
    rows = [line.split() for line in reading.splitlines()]
    return {
        int(name.removeprefix("cpu")): list(map(int, times[:_COUNTED]))
        for name, *times in rows
        if name.startswith("cpu") and name != "cpu"
    }


def _own_cpus() -> set[int]:
    affinity = getattr(os, "sched_getaffinity", None)
    return affinity(0) if affinity else set(range(os.cpu_count() or 1))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
