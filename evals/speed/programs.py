"""What a program in the sandbox costs: the real sandbox with a program that only prints."""

from __future__ import annotations

import asyncio
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from graph.errors import ConfigError
from tools.sandbox import Sandbox, SandboxUnavailable


@dataclass(frozen=True)
class ProgramsReport:
    """What was measured; CPU is user and system time of this process and its children."""

    programs: int
    cpu_ms: float
    """Median of one program after the other."""
    seconds: float
    """Median, likewise."""
    cpu_ms_at_once: float
    """Mean of all at once."""
    seconds_at_once: float
    """From the first to the last."""
    interpreter_cpu_ms: float
    """Median of Python alone, which each program starts anew (`python -I -S -c pass`): the measure of the machine."""


def measure_programs(count: int) -> ProgramsReport:
    """Run `count` programs one after the other, and then all at once.

    Raises:
        ConfigError: there is no sandbox here.
    """
    sandbox = Sandbox()
    try:
        sandbox.run(_PROGRAM)  # checks the sandbox once
    except SandboxUnavailable as error:
        raise ConfigError(f"There is no sandbox to measure: {error}") from error
    alone = [_spent(lambda: sandbox.run(_PROGRAM)) for _ in range(count)]
    bare = [_spent(lambda: subprocess.run(_INTERPRETER, check=True)) for _ in range(count)]  # noqa: S603

    async def all_at_once() -> None:
        await asyncio.gather(*(sandbox.arun(_PROGRAM) for _ in range(count)))

    cpu, seconds = _spent(lambda: asyncio.run(all_at_once()))
    return ProgramsReport(
        programs=count,
        cpu_ms=_milliseconds(statistics.median(cpu for cpu, _ in alone)),
        seconds=round(statistics.median(seconds for _, seconds in alone), 4),
        cpu_ms_at_once=_milliseconds(cpu / count),
        seconds_at_once=round(seconds, 3),
        interpreter_cpu_ms=_milliseconds(statistics.median(cpu for cpu, _ in bare)),
    )


_PROGRAM = "print(6 * 7)"
_INTERPRETER = [sys.executable, "-I", "-S", "-c", "pass"]


def _spent(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds and seconds of a piece of work."""
    before, began = _cpu_seconds(), time.perf_counter()
    work()
    return _cpu_seconds() - before, time.perf_counter() - began


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 1)
