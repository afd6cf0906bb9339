"""Two measurements of the same held-out tasks, compared task by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from evals.reports.cells import table
from evals.reports.intervals import Paired, bootstrap
from evals.reports.tools import PathOfRun, change_cells, changes, combinations_in_words, tool_use, unseen
from graph.errors import DataError
from tools.counts import many
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
    lines = [f"{b} compared with {a}: {many(len(shared), 'task')} in both, {_left_out(before, after)} in only one."]
    lines += _differing(a, b)
    lines += ["", f"| | {a} | {b} | difference (95 % interval) |", "| --- | --- | --- | --- |"]
    parts = [name for name in PARTS if all(name in parts_of(before[task][0]) for task in shared)]
    solved = Paired((0.0, 0.0), 0, 0)
    for name in parts:
        row, solved = _compared(label(name), before, after, shared, seed, lambda rollout: parts_of(rollout)[name])  # noqa: B023
        lines.append(row)
    families = {task: str(before[task][0].task.metadata.get("family") or "") for task in shared}
    for family in sorted({family for family in families.values() if family}):
        members = [task for task in shared if families[task] == family]
        row, _ = _compared(f"solved: {family} ({len(members)})", before, after, members, seed, is_solved)
        lines.append(row)
    lines += ["", *_tools(before, after, shared, seed, f"{a}", f"{b}")]
    lines += ["", f"{b} is {solved.direction or 'not significantly different'} (solved; {solved.grounds})."]
    return "\n".join(lines) + "\n"


_ByTask = Mapping[str, Sequence[Rollout]]


def _compared(
    words: str,
    before: _ByTask,
    after: _ByTask,
    tasks: Sequence[str],
    seed: int,
    measure: Callable[[Rollout], bool],
) -> tuple[str, Paired]:
    """A row of the comparison, and its differences."""
    of_a, of_b = (np.array([fmean(map(measure, runs[task])) for task in tasks]) for runs in (before, after))
    paired = Paired.of(of_b - of_a, seed)
    low, high = paired.interval
    change = f"{100 * (of_b - of_a).mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"| {words} | {of_a.mean():.1%} | {of_b.mean():.1%} | {change} |", paired


def _tools(before: _ByTask, after: _ByTask, shared: Sequence[str], seed: int, a: str, b: str) -> list[str]:
    """Turns a run, the shares of tools and errors in all turns, and combinations of tools that only B uses."""
    one, other = ({task: [tool_use(run.memory) for run in runs[task]] for task in shared} for runs in (before, after))
    of_a, of_b = (np.array([fmean(use.turns for use in runs[task]) for task in shared]) for runs in (one, other))
    low, high = bootstrap(of_b - of_a, seed)
    change = f"{(of_b - of_a).mean():+.2f} ({low:+.2f} to {high:+.2f})"
    head, *rows = change_cells(*changes(one, other, seed), a, b)
    new = unseen(
        [use.path for task in shared for use in one[task]],
        [
            PathOfRun(run.id, use.path, is_solved(run))
            for task in shared
            for run, use in zip(after[task], other[task], strict=True)
        ],
    )
    return [
        "Shares are of all turns.",
        "",
        table([head, ["turns a run", f"{of_a.mean():.2f}", f"{of_b.mean():.2f}", change], *rows]),
        "",
        f"Combinations of tools that only {b} uses: {combinations_in_words(new)}.",
    ]


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
