"""What changes from one set of runs to another by question, with interval and verdict of `python -m evals compare`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np

from evals.reports.intervals import Paired
from evals.reports.tools import Combination, PathOfRun, ToolUse, changes, unseen
from evals.view.documents import FIELDS

_PLACE = {name: place for place, name in enumerate(FIELDS)}

SEED = 0
"""Of the bootstrap, as `python -m evals compare` has it by default."""


Row = Sequence[Any]
"""Of the index, see `documents.FIELDS`."""

_ByTask = Mapping[str, Sequence[Row]]


def comparison(a: Iterable[Row], b: Iterable[Row]) -> dict[str, Any]:
    """Compare the rows of two sets on the questions that they share.

    Args:
        a: rows of the index, see `documents.FIELDS`.
        b: the rows that are compared with them.

    Returns:
        `questions`, how many they share, and where they share any: `exact` and `lenient`, each the two means over
        questions, and of the difference under the exact rules the `interval`, its `direction` ("better", "worse" or "")
        and the `grounds` in words; `tools`, the share of turns of each tool
        and of tool errors, each with its two values and the interval of their difference; `unseen`, the combinations of
        tools that only A uses, and those that only B uses. All shares are in [0, 1].
    """
    tasks_a, tasks_b = _by_task(a), _by_task(b)
    shared = [task for task in tasks_a if task in tasks_b]
    if not shared:
        return {"questions": 0}
    both = [{task: tasks[task] for task in shared} for tasks in (tasks_a, tasks_b)]
    comparison: dict[str, Any] = {"questions": len(shared), "tools": _tools(*both), "unseen": _unseen(*both)}
    for name, score in (("exact", _exact), ("lenient", _lenient)):
        means = [[fmean(map(score, runs)) for runs in tasks.values()] for tasks in both]
        comparison[name] = [fmean(values) for values in means]
        if name == "exact":
            paired = Paired.of(np.array(means[1]) - np.array(means[0]), SEED)
            comparison |= {"interval": paired.interval, "direction": paired.direction, "grounds": paired.grounds}
    return comparison


def combinations(before: Iterable[Row], after: Iterable[Row], *, ordered: bool = False) -> list[Combination]:
    """The combinations of tools in some rows that no earlier row has, see `evals.reports.tools.unseen`."""
    later = [PathOfRun(row[_PLACE["key"]], row[_PLACE["path"]], _exact(row) == 1.0) for row in after]
    return unseen([row[_PLACE["path"]] for row in before], later, ordered=ordered)


def _tools(before: _ByTask, after: _ByTask) -> list[list[Any]]:
    used = [{task: [_use(row) for row in rows] for task, rows in tasks.items()} for tasks in (before, after)]
    tools, errors = changes(used[0], used[1], SEED)
    return [[change.name, change.before, change.after, *change.interval] for change in (*tools, *errors)]


def _use(row: Row) -> ToolUse:
    tools = Counter[str](row[_PLACE["tools"]])
    return ToolUse(row[_PLACE["turns"]], tools, Counter(), row[_PLACE["failed_turns"]], tuple(row[_PLACE["path"]]))


def _unseen(before: _ByTask, after: _ByTask) -> list[list[dict[str, Any]]]:
    a, b = ([row for rows in tasks.values() for row in rows] for tasks in (before, after))
    return [[asdict(each) for each in combinations(one, other)] for one, other in ((b, a), (a, b))]


def _by_task(rows: Iterable[Row]) -> dict[str, list[Row]]:
    tasks: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        tasks[row[_PLACE["task"]] or row[_PLACE["question"]]].append(row)
    return dict(tasks)


def _exact(row: Row) -> float:
    exact = row[_PLACE["exact"]]
    return _lenient(row) if exact is None else float(exact)


def _lenient(row: Row) -> float:
    return float(row[_PLACE["outcome"]] == "right")
