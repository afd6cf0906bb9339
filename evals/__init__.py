"""Measuring how good an agent is: benchmarks, exact scorers, a runner and reports.

The command line is `python -m evals run|report|compare|view|list`. In Python, a `Task` and its `score` are also the
reward in training:

    tasks = load_tasks("gameof24")
    score(tasks[0], "(1+1+1)*8").correct
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from _agentflow_shadows import require

require("tools", "graph")

if TYPE_CHECKING:
    from evals.benchmarks.loading import load_tasks, sample
    from evals.scorers import score
    from evals.task import Score, Task

__all__ = ["Score", "Task", "load_tasks", "sample", "score"]

_HOMES = {
    "Score": "evals.task",
    "Task": "evals.task",
    "load_tasks": "evals.benchmarks.loading",
    "sample": "evals.benchmarks.loading",
    "score": "evals.scorers",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
