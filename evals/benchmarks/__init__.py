"""The benchmarks as tasks.

registry.py   the benchmarks: where their files are, how they are scored
loading.py    the tasks of a benchmark, and a sample of them
files.py      JSONL, JSON, CSV and parquet
rows.py       a row of a file becomes a task
cells.py      what the cells of published data sets hold
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evals.benchmarks.loading import load_tasks, sample
    from evals.benchmarks.registry import BENCHMARKS, Benchmark, benchmark

__all__ = ["BENCHMARKS", "Benchmark", "benchmark", "load_tasks", "sample"]

_HOMES = {
    "BENCHMARKS": "evals.benchmarks.registry",
    "Benchmark": "evals.benchmarks.registry",
    "benchmark": "evals.benchmarks.registry",
    "load_tasks": "evals.benchmarks.loading",
    "sample": "evals.benchmarks.loading",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
