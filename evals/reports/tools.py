"""Which tools runs use, and what changes from one set of runs to another.

A tool's share is of all turns, and so is the share of turns with an error: ratios of two sums over questions. Their
intervals come from resampling the questions in pairs. A *path* is the order in which a run used its tools, whatever
failed left out; a *combination* is the set of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evals.reports.cells import Cells, percent
from evals.reports.intervals import RESAMPLES
from graph.state import FINISH
from graph.words import NONE, UNKNOWN, tool_label
from tools.counts import many

TOOL_ERRORS = "tool errors"
"""In tables: turns whose call could not be made or failed."""

_OF_TOOLS = frozenset({"unknown_tool", "arguments", "refused", "tool", "timeout", "unavailable"})
"""Kinds of error (`graph.state.Failure`) of calls; the others are of plans and results."""

FloatArray = NDArray[np.float64]

_CHUNK = 500
"""Resamples held in memory at a time."""


@dataclass(frozen=True)
class ToolUse:
    """The tools of one run."""

    turns: int
    tools: Counter[str]
    """Turns by tool."""
    errors: Counter[str]
    """Turns by kind of error."""
    failed: int
    """Turns whose call could not be made or failed."""
    path: tuple[str, ...]


def tools_of(turn: Mapping[str, Any]) -> frozenset[str]:
    """The tools that a turn used; of a turn of another agent's, those of its several calls."""
    calls = [call for call in turn.get("calls") or () if isinstance(call, Mapping) and "tool" in call]
    named = {UNKNOWN if _kind(call.get("error")) == "unknown_tool" else str(call["tool"]) for call in calls}
    return frozenset(named) or frozenset({tool_label(turn)})


def error_kinds(turn: Mapping[str, Any]) -> set[str]:
    """The distinct kinds of error of a turn and its calls."""
    errors = [turn.get("error"), *(call.get("error") for call in turn.get("calls") or () if isinstance(call, Mapping))]
    return {kind for error in errors if (kind := _kind(error))}


def _kind(error: object) -> str:
    return str(error.get("kind") or "unknown") if isinstance(error, Mapping) and error else ""


def tool_use(turns: Sequence[Mapping[str, Any]]) -> ToolUse:
    """The tools of a run, from its memory."""
    kinds = [error_kinds(turn) for turn in turns]
    errors = Counter(kind for of_turn in kinds for kind in of_turn)
    failed = sum(not _OF_TOOLS.isdisjoint(of_turn) for of_turn in kinds)
    used = [
        sorted(tools_of(turn) - {NONE, UNKNOWN, FINISH}) for turn, of_turn in zip(turns, kinds, strict=True)
        if not of_turn
    ]  # fmt: skip
    path = tuple(tool for tool, _ in groupby(tool for of_turn in used for tool in of_turn))
    return ToolUse(len(turns), Counter(tool for turn in turns for tool in tools_of(turn)), errors, failed, path)


@dataclass(frozen=True)
class Change:
    """A share of all turns before and after."""

    name: str
    before: float
    after: float
    interval: tuple[float, float]
    """95 % bootstrap interval of the difference, over questions."""


ByQuestion = Mapping[str, Sequence[ToolUse]]


def changes(before: ByQuestion, after: ByQuestion, seed: int = 0) -> tuple[list[Change], list[Change]]:
    """What changes on the questions that two sets of runs share: the shares of tools, and those of errors."""
    shared = [question for question in before if question in after]
    every = [use for runs in (before, after) for question in shared for use in runs[question]]
    tools = sorted({tool for use in every for tool in use.tools})
    errors = sorted({kind for use in every for kind in use.errors})
    if not every:
        return [], []
    one, other = (_counts([runs[question] for question in shared], tools, errors) for runs in (before, after))
    found = _changes([*tools, TOOL_ERRORS, *errors], one, other, seed)
    return found[: len(tools)], found[len(tools) :]


def _counts(questions: Sequence[Sequence[ToolUse]], tools: Sequence[str], errors: Sequence[str]) -> FloatArray:
    """Turns of each tool, with a failed call, of each error, and all: means over samples, (questions, columns)."""
    return np.array(
        [
            [
                *(fmean(use.tools[name] for use in runs) for name in tools),
                fmean(use.failed for use in runs),
                *(fmean(use.errors[name] for use in runs) for name in errors),
                fmean(use.turns for use in runs),
            ]
            for runs in questions
        ]
    )


def _changes(names: Sequence[str], before: FloatArray, after: FloatArray, seed: int) -> list[Change]:
    chance, count = np.random.default_rng(seed), len(before)
    differences = []
    for _ in range(RESAMPLES // _CHUNK):
        often = chance.multinomial(count, np.full(count, 1 / count), _CHUNK)
        differences.append(_shares(often @ after) - _shares(often @ before))
    low, high = np.percentile(np.concatenate(differences), [2.5, 97.5], axis=0)
    whole = zip(_shares(before.sum(0)), _shares(after.sum(0)), low, high, strict=True)
    return [
        Change(name, float(a), float(b), (float(lo), float(hi)))
        for name, (a, b, lo, hi) in zip(names, whole, strict=True)
    ]


def _shares(sums: FloatArray) -> FloatArray:
    """Each name's share of the turns, which are the last column."""
    turns = sums[..., -1:]
    return np.divide(sums[..., :-1], turns, out=np.zeros_like(sums[..., :-1]), where=turns > 0)


def change_cells(tools: Sequence[Change], errors: Sequence[Change], a: str, b: str) -> Cells:
    """The changes as a table: tools, then errors."""
    named = [(f"turns with {change.name}", change) for change in tools]
    named += [(change.name if change.name == TOOL_ERRORS else f"errors: {change.name}", change) for change in errors]
    return [["", a, b, "difference (95 % interval)"], *(_row(words, change) for words, change in named)]


def _row(words: str, change: Change) -> list[str]:
    points = [100 * (change.after - change.before), *(100 * end for end in change.interval)]
    difference, low, high = (f"{value:+.1f}" for value in points)
    return [words, percent(change.before), percent(change.after), f"{difference} ({low} to {high})"]


@dataclass(frozen=True)
class Combination:
    """Tools that some runs used together, and no earlier run did."""

    tools: tuple[str, ...]
    runs: int
    right: int
    example: str
    """The first such run."""


class PathOfRun(NamedTuple):
    """What a run is worth counting for."""

    name: str
    path: Sequence[str]
    right: bool


def unseen(before: Iterable[Sequence[str]], after: Iterable[PathOfRun], *, ordered: bool = False) -> list[Combination]:
    """The combinations of at least two tools in later runs that no earlier run used, the most frequent first.

    Args:
        before: paths of the earlier runs.
        after: the later runs.
        ordered: whether the same tools in another order are something else.
    """

    def kind(path: Sequence[str]) -> tuple[str, ...]:
        return tuple(path) if ordered else tuple(sorted(set(path)))

    known = {kind(path) for path in before}
    runs: dict[tuple[str, ...], list[PathOfRun]] = {}
    for run in after:
        if len(set(run.path)) > 1 and kind(run.path) not in known:
            runs.setdefault(kind(run.path), []).append(run)
    found = [Combination(tools, len(own), sum(run.right for run in own), own[0].name) for tools, own in runs.items()]
    return sorted(found, key=lambda each: (-each.runs, each.tools))


def unseen_cells(found: Sequence[Combination], *, ordered: bool = False) -> Cells:
    """New combinations as a table."""
    link = " → " if ordered else " + "
    rows = [[link.join(each.tools), str(each.runs), str(each.right), each.example] for each in found]
    return [["new order" if ordered else "new combination", "runs", "right", "for example"], *rows]


def combinations_in_words(found: Sequence[Combination]) -> str:
    """New combinations in a line."""
    words = [f"{' + '.join(each.tools)} ({many(each.runs, 'run')}, {each.right} right)" for each in found]
    return ", ".join(words) or "none"
