"""Know how good an agent is: benchmarks, exact scorers, a runner and reports.

`python -m evals run|report|compare|view|list` is the command line. From Python, a `Task` and its `score` are what
training uses as its reward:


    tasks = load_tasks("gameof24")
    score(tasks[0], "(1+1+1)*8").correct
"""

from __future__ import annotations

from evals.benchmarks.loading import load_tasks, sample
from evals.scorers import score
from evals.task import Score, Task

__all__ = ["Score", "Task", "load_tasks", "sample", "score"]
