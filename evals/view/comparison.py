"""What changes from one set of runs to another by question, with the interval of `python -m evals compare`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from evals.reports.intervals import bootstrap
from evals.view.documents import FIELDS

_PLACE = {name: place for place, name in enumerate(FIELDS)}

SEED = 0
"""Of the bootstrap, as `python -m evals compare` has it by default."""


def comparison(a: Iterable[Sequence[Any]], b: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Compare the rows of two sets on the questions that they share.

    Args:
        a: rows of the index, see `documents.FIELDS`.
        b: the rows that are compared with them.

    Returns:
        `questions`, how many they share, and where they share any: `exact` and `lenient`, each the two means over
        questions, and the `interval` of the difference under the exact rules. All shares are in [0, 1].
    """
    tasks_a, tasks_b = _by_task(a), _by_task(b)
    shared = [task for task in tasks_a if task in tasks_b]
    if not shared:
        return {"questions": 0}
    comparison: dict[str, Any] = {"questions": len(shared)}
    for name, score in (("exact", _exact), ("lenient", _lenient)):
        means = [[fmean(map(score, tasks[task])) for task in shared] for tasks in (tasks_a, tasks_b)]
        comparison[name] = [fmean(values) for values in means]
        if name == "exact":
            comparison["interval"] = bootstrap(np.array(means[1]) - np.array(means[0]), SEED)
    return comparison


def _by_task(rows: Iterable[Sequence[Any]]) -> dict[str, list[Sequence[Any]]]:
    tasks: dict[str, list[Sequence[Any]]] = defaultdict(list)
    for row in rows:
        tasks[row[_PLACE["task"]] or row[_PLACE["question"]]].append(row)
    return dict(tasks)


def _exact(row: Sequence[Any]) -> float:
    exact = row[_PLACE["exact"]]
    return _lenient(row) if exact is None else float(exact)


def _lenient(row: Sequence[Any]) -> float:
    return float(row[_PLACE["outcome"]] == "right")
