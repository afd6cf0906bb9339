"""Compares two runs question by question.

Pairing removes what both have in common, the difficulty of the questions. The interval is a percentile bootstrap over
questions (samples of a question stay together), with a fixed seed. A run is called better or worse only if the exact
sign test over the questions that differ agrees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from evals.reports.cells import Cells, percent, table
from evals.reports.intervals import Paired, bootstrap
from evals.reports.metrics import by_question, mean_of_questions
from evals.reports.tools import (
    Change,
    Combination,
    PathOfRun,
    change_cells,
    changes,
    combinations_in_words,
    tool_use,
    unseen,
)
from evals.results import Recorded, Result
from graph.errors import DataError
from tools.counts import many


@dataclass(frozen=True)
class Comparison:
    """The changes from run A to run B."""

    a: str
    b: str
    questions: int
    """Questions that both runs have."""
    only_a: int
    """Questions that only A has; they are ignored."""
    only_b: int
    accuracy_a: float
    """Under the exact rules."""
    accuracy_b: float
    lenient_a: float
    """Under the lenient rules."""
    lenient_b: float
    difference: float
    """Accuracy of B minus that of A, in [-1, 1]."""
    interval: tuple[float, float]
    """95 % bootstrap interval of the difference."""
    won: list[str]
    """Questions on which B is better."""
    lost: list[str]
    p: float
    """Of the exact two-sided sign test over the questions won and lost."""
    tools: list[Change]
    """Shares of turns by tool."""
    errors: list[Change]
    """Shares of turns by kind of error."""
    combinations: list[Combination]
    """Tools that runs of B use together, and none of A."""
    turns_a: float
    turns_b: float
    turns_interval: tuple[float, float]
    """95 % bootstrap interval of the difference in turns."""
    seconds_a: float
    seconds_b: float

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def compare(a: Recorded, b: Recorded, seed: int = 0) -> Comparison:
    """Compare run B with run A on their common questions.

    Raises:
        DataError: they have none in common, or use one id for two different questions.
    """
    samples_a, samples_b = by_question(a.results), by_question(b.results)
    shared = [task for task in samples_a if task in samples_b]
    if not shared:
        raise DataError(f"{a.folder} and {b.folder} have no question in common; compare runs of the same benchmark.")
    for task in shared:
        if samples_a[task][0].question != samples_b[task][0].question:
            raise DataError(
                f"{a.folder} and {b.folder} ask different questions under the id {task}; compare runs of the same file."
            )
    scores_a = np.array([fmean(result.exact for result in samples_a[task]) for task in shared])
    scores_b = np.array([fmean(result.exact for result in samples_b[task]) for task in shared])
    results_a = [result for task in shared for result in samples_a[task]]
    results_b = [result for task in shared for result in samples_b[task]]
    differences = scores_b - scores_a
    paired = Paired.of(differences, seed)
    use_a, use_b = (
        {task: [tool_use(result.turns) for result in runs[task]] for task in shared} for runs in (samples_a, samples_b)
    )
    tools, errors = changes(use_a, use_b, seed)
    return Comparison(
        a=a.name,
        b=b.name,
        questions=len(shared),
        only_a=len(samples_a) - len(shared),
        only_b=len(samples_b) - len(shared),
        accuracy_a=float(scores_a.mean()),
        accuracy_b=float(scores_b.mean()),
        lenient_a=mean_of_questions({task: samples_a[task] for task in shared}, exact=False),
        lenient_b=mean_of_questions({task: samples_b[task] for task in shared}, exact=False),
        difference=float(differences.mean()),
        interval=paired.interval,
        won=[task for task, change in zip(shared, differences, strict=True) if change > 0],
        lost=[task for task, change in zip(shared, differences, strict=True) if change < 0],
        p=paired.p,
        tools=tools,
        errors=errors,
        combinations=unseen(
            [tool_use(result.turns).path for result in results_a],
            [
                PathOfRun(f"{result.task}/{result.sample}", tool_use(result.turns).path, result.exact)
                for result in results_b
            ],
        ),
        turns_a=_mean_turns(results_a),
        turns_b=_mean_turns(results_b),
        turns_interval=bootstrap(_turns(samples_b, shared) - _turns(samples_a, shared), seed),
        seconds_a=fmean(result.seconds for result in results_a),
        seconds_b=fmean(result.seconds for result in results_b),
    )


def _turns(samples: Mapping[str, Sequence[Result]], tasks: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of each question, the mean over its samples."""
    return np.array([_mean_turns(samples[task]) for task in tasks])


def _mean_turns(results: Sequence[Result]) -> float:
    return fmean(len(result.turns) for result in results)


def head(comparison: Comparison) -> str:
    """What is compared, in a sentence."""
    a, b, only_a, only_b = comparison.a, comparison.b, comparison.only_a, comparison.only_b
    left_out = f" ({only_a} only in {a}, {only_b} only in {b}, left out)" if only_a or only_b else ""
    return f"{b} against {a}, {many(comparison.questions, 'question')} in common{left_out}."


def cells(comparison: Comparison) -> Cells:
    """The figures of both runs and their differences."""
    c = comparison
    (low, high), (fewer, more) = c.interval, c.turns_interval
    rows = [
        ["", c.a, c.b, "difference"],
        [
            "exact",
            percent(c.accuracy_a),
            percent(c.accuracy_b),
            f"{_points(c.difference)} ({_points(low)} to {_points(high)})",
        ],
        ["lenient", percent(c.lenient_a), percent(c.lenient_b), _points(c.lenient_b - c.lenient_a)],
        [
            "turns",
            f"{c.turns_a:.2f}",
            f"{c.turns_b:.2f}",
            f"{c.turns_b - c.turns_a:+.2f} ({fewer:+.2f} to {more:+.2f})",
        ],
        ["seconds", f"{c.seconds_a:.1f}", f"{c.seconds_b:.1f}", f"{c.seconds_b - c.seconds_a:+.1f}"],
    ]
    return rows + change_cells(c.tools, c.errors, c.a, c.b)[1:]


def verdict(comparison: Comparison) -> list[str]:
    """Which questions were won and lost, and what that amounts to."""
    paired = Paired(comparison.interval, len(comparison.won), len(comparison.lost))
    direction = paired.direction
    words = f"{comparison.b} is {direction}" if direction else "There is no significant difference"
    return [
        f"Won {len(comparison.won)}: {', '.join(comparison.won) or 'none'}.",
        f"Lost {len(comparison.lost)}: {', '.join(comparison.lost) or 'none'}.",
        f"Combinations of tools that only {comparison.b} uses: {combinations_in_words(comparison.combinations)}.",
        "",
        f"{words} ({paired.grounds}).",
    ]


def as_markdown(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    return "\n".join([head(comparison), "", table(cells(comparison)), "", *verdict(comparison)]) + "\n"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"
