"""Two measurements of the same held-out tasks, compared task by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from evals.reports.intervals import RESAMPLES, bootstrap
from graph.errors import DataError
from training.flow_grpo.config import MATTERS
from training.rollouts.breakdown import PARTS, is_solved, parts_of
from training.rollouts.records import Rollout, by_task
from training.run.folder import read_settings
from training.validate.measure import stored_rollouts


def comparison(a: Path, b: Path, seed: int = 0) -> str:
    """Compares measurement B with measurement A, task by task, as Markdown.

    Raises:
        DataError: a folder holds no measurement, or the two have no task in common.
    """
    before, after = (by_task(stored_rollouts(folder).values()) for folder in (a, b))
    shared = [task for task in before if task in after]
    if not shared or any(before[task][0].task.prompt != after[task][0].task.prompt for task in shared):
        raise DataError(f"{a} and {b} measure different tasks; use the same `validation`.")
    lines = [f"{b} compared with {a}: {len(shared)} tasks in both, {_left_out(before, after)} in only one."]
    lines += _differing(a, b)
    lines += ["", f"| | {a} | {b} | difference (95 % interval) |", "| --- | --- | --- | --- |"]
    parts = [name for name in PARTS if all(name in parts_of(before[task][0]) for task in shared)]
    solved = (0.0, 0.0)
    for name in parts:
        row, interval = _compared(label(name), before, after, shared, seed, lambda rollout: parts_of(rollout)[name])  # noqa: B023
        lines.append(row)
        solved = interval
    families = {task: str(before[task][0].task.metadata.get("family") or "") for task in shared}
    for family in sorted({family for family in families.values() if family}):
        members = [task for task in shared if families[task] == family]
        row, _ = _compared(f"solved: {family} ({len(members)})", before, after, members, seed, is_solved)
        lines.append(row)
    low, high = solved
    verdict = "better" if low > 0 else "worse" if high < 0 else "not significantly different"
    lines += ["", f"{b} is {verdict} (solved; paired bootstrap over tasks, {RESAMPLES:,} resamples)."]
    return "\n".join(lines) + "\n"


_ByTask = Mapping[str, Sequence[Rollout]]


def _compared(
    words: str,
    before: _ByTask,
    after: _ByTask,
    tasks: Sequence[str],
    seed: int,
    measure: Callable[[Rollout], bool],
) -> tuple[str, tuple[float, float]]:
    """A row of the comparison, and the interval of its difference."""
    of_a, of_b = (np.array([fmean(map(measure, runs[task])) for task in tasks]) for runs in (before, after))
    low, high = bootstrap(of_b - of_a, seed)
    change = f"{100 * (of_b - of_a).mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"| {words} | {of_a.mean():.1%} | {of_b.mean():.1%} | {change} |", (low, high)


def _left_out(before: _ByTask, after: _ByTask) -> int:
    return len(before.keys() ^ after.keys())


def _differing(a: Path, b: Path) -> list[str]:
    """A warning if more than the policy changed between two measurements."""
    one, other = read_settings(a), read_settings(b)
    names = [name for name in one if name in MATTERS | {"samples"} and one[name] != other.get(name)]
    differences = ", ".join(f"{name} ({one[name]!r}, {other.get(name)!r})" for name in names)
    return [f"Their settings differ: {differences}."] if names else []


def label(name: str) -> str:
    """A part of the pass rate (`breakdown.PARTS`) as a heading."""
    return name.replace("_", " ")
