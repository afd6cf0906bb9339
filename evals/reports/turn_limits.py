"""Accuracy and mean turns against the turn limit: the paper's figure on test-time scaling.

A curve is one agent at several limits. Evaluations and measurements of a policy in training both become curves, and
everything behind that is the same: the figure, the table, the differences of two curves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np

from evals.reports.cells import Cells, percent
from evals.reports.intervals import bootstrap, wilson
from evals.reports.metrics import Summary

Question = tuple[float, float]
"""Accuracy in [0, 1] and turns, each the mean over the samples of one question."""


@dataclass(frozen=True)
class Point:
    """One agent at one limit."""

    limit: int
    questions: Mapping[str, Question]

    @cached_property
    def accuracy(self) -> float:
        """Under the exact rules, in [0, 1]."""
        return fmean(score for score, _ in self.questions.values())

    @cached_property
    def turns(self) -> float:
        """Of a run, on average."""
        return fmean(turns for _, turns in self.questions.values())

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy (Wilson)."""
        return wilson(self.accuracy, len(self.questions))

    @cached_property
    def turns_interval(self) -> tuple[float, float]:
        """95 % interval of the turns (bootstrap over questions)."""
        return bootstrap(np.array([turns for _, turns in self.questions.values()]), 0)


@dataclass(frozen=True)
class Curve:
    """One agent at several limits, the lowest first."""

    name: str
    points: Sequence[Point]


def curves_of(summaries: Sequence[Summary]) -> list[Curve]:
    """Runs that differ only in their turn limit, as curves of at least two limits."""
    groups: dict[str, list[Summary]] = {}
    for summary in summaries:
        settings = summary.settings
        if settings.get("mode") != "direct" and "max_turns" in settings:
            shared = {name: value for name, value in settings.items() if name != "max_turns"}
            groups.setdefault(repr(sorted(shared.items(), key=lambda item: item[0])), []).append(summary)
    return [
        curve(_shared_name(group[0]), group)
        for group in groups.values()
        if len({summary.settings["max_turns"] for summary in group}) > 1
    ]


def curve(name: str, summaries: Sequence[Summary]) -> Curve:
    """The runs of one agent as a curve."""
    points = [Point(int(summary.settings["max_turns"]), summary.by_question) for summary in summaries]
    return Curve(name, sorted(points, key=lambda point: point.limit))


def _shared_name(summary: Summary) -> str:
    settings = summary.settings
    models = [str(settings[name]) for name in ("model", "planner_model") if settings.get(name)]
    return " · ".join([str(settings.get("benchmark", summary.name)), *models])


def limits(curves: Sequence[Curve]) -> Cells:
    """A row for each curve and limit."""
    head = ["runs", "turn limit", "accuracy", "95 % interval", "mean turns", "95 % interval", "questions"]
    rows = [
        [
            each.name,
            str(point.limit),
            percent(point.accuracy),
            " to ".join(map(percent, point.interval)),
            f"{point.turns:.2f}",
            " to ".join(f"{end:.2f}" for end in point.turns_interval),
            str(len(point.questions)),
        ]
        for each in curves
        for point in each.points
    ]
    return [head, *rows]


def differences(before: Curve, after: Curve) -> Cells:
    """What changes from one curve to another at each limit, paired by question."""
    head = ["turn limit", "accuracy, points", "95 % interval", "mean turns", "95 % interval", "questions"]
    known = {point.limit: point for point in before.points}
    rows = [row for point in after.points if point.limit in known and (row := _difference(known[point.limit], point))]
    return [head, *rows]


def _difference(before: Point, after: Point) -> list[str]:
    """A row; empty if the two have no question in common."""
    shared = [name for name in before.questions if name in after.questions]
    if not shared:
        return []
    changes = np.array([np.subtract(after.questions[name], before.questions[name]) for name in shared])
    accuracy, turns = 100 * changes[:, 0], changes[:, 1]
    return [
        str(after.limit),
        f"{accuracy.mean():+.1f}",
        " to ".join(f"{end:+.1f}" for end in bootstrap(accuracy, 0)),
        f"{turns.mean():+.2f}",
        " to ".join(f"{end:+.2f}" for end in bootstrap(turns, 0)),
        str(len(shared)),
    ]
