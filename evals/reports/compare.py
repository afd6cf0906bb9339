"""Compares two runs question by question.

Pairing removes what both have in common, the difficulty of the questions. The interval is a percentile bootstrap over
questions (samples of a question stay together), with a fixed seed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from evals.reports.cells import Cells, percent, table
from evals.reports.intervals import RESAMPLES, bootstrap
from evals.reports.metrics import by_question, mean_of_questions, tool_mix
from evals.results import Recorded, Result
from graph.errors import DataError


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
    tools_a: dict[str, float]
    """Share of turns by tool."""
    tools_b: dict[str, float]
    turns_a: float
    turns_b: float
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
        interval=bootstrap(differences, seed),
        won=[task for task, change in zip(shared, differences, strict=True) if change > 0],
        lost=[task for task, change in zip(shared, differences, strict=True) if change < 0],
        tools_a=_shares(tool_mix(results_a)),
        tools_b=_shares(tool_mix(results_b)),
        turns_a=_mean_turns(results_a),
        turns_b=_mean_turns(results_b),
        seconds_a=fmean(result.seconds for result in results_a),
        seconds_b=fmean(result.seconds for result in results_b),
    )


def _shares(counts: Counter[str]) -> dict[str, float]:
    return {tool: n / counts.total() for tool, n in sorted(counts.items())}


def _mean_turns(results: list[Result]) -> float:
    return fmean(len(result.turns) for result in results)


def head(comparison: Comparison) -> str:
    """What is compared, in a sentence."""
    a, b, only_a, only_b = comparison.a, comparison.b, comparison.only_a, comparison.only_b
    left_out = f" ({only_a} only in {a}, {only_b} only in {b}, left out)" if only_a or only_b else ""
    return f"{b} against {a}, {comparison.questions} questions in common{left_out}."


def cells(comparison: Comparison) -> Cells:
    """The figures of both runs and their differences."""
    c = comparison
    low, high = c.interval
    rows = [
        ["", c.a, c.b, "difference"],
        [
            "exact",
            percent(c.accuracy_a),
            percent(c.accuracy_b),
            f"{_points(c.difference)} ({_points(low)} to {_points(high)})",
        ],
        ["lenient", percent(c.lenient_a), percent(c.lenient_b), _points(c.lenient_b - c.lenient_a)],
        ["turns", f"{c.turns_a:.2f}", f"{c.turns_b:.2f}", f"{c.turns_b - c.turns_a:+.2f}"],
        ["seconds", f"{c.seconds_a:.1f}", f"{c.seconds_b:.1f}", f"{c.seconds_b - c.seconds_a:+.1f}"],
    ]
    for tool in sorted({*c.tools_a, *c.tools_b}):
        before, after = c.tools_a.get(tool, 0.0), c.tools_b.get(tool, 0.0)
        rows.append([f"turns with {tool}", percent(before), percent(after), _points(after - before)])
    return rows


def verdict(comparison: Comparison) -> list[str]:
    """Which questions were won and lost, and what that amounts to."""
    low, high = comparison.interval
    words = f"{comparison.b} is {'better' if low > 0 else 'worse'}"
    if low <= 0 <= high:
        words = "There is no significant difference"
    return [
        f"Won {len(comparison.won)}: {', '.join(comparison.won) or 'none'}.",
        f"Lost {len(comparison.lost)}: {', '.join(comparison.lost) or 'none'}.",
        "",
        f"{words} (95 % bootstrap interval over questions, {RESAMPLES:,} resamples).",
    ]


def as_markdown(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    return "\n".join([head(comparison), "", table(cells(comparison)), "", *verdict(comparison)]) + "\n"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"
