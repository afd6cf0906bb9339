"""The seconds of a question by role, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from evals.speed.roles import RolesReport, Spent
from graph.roles import ROLES
from tools.counts import many

_WIDTH = 11
_COLUMNS = ("reading", "writing", "other", "seconds", "tokens in", "tokens out")
_SECONDS = 4
"""The first columns are seconds, the others are tokens."""
_NO_CALL = (None, None, None)
"""Cells of what is no call of a model."""


def table(report: RolesReport) -> str:
    """Totals, then for cold and warm a row for each part of a question; the rows sum up to the whole."""
    lines = [
        f"{report.model}, {many(report.questions, 'question')} of evals/own, each in a process of its own",
        "cold: nothing of the prompts is kept from before; warm: their static beginnings are",
        "",
        f"{'':{_WIDTH}}{'median':>10}{'right':>10}",
        f"{'cold':{_WIDTH}}{report.cold_seconds:8.1f} s{report.cold_accuracy:10.0%}",
        f"{'warm':{_WIDTH}}{report.warm_seconds:8.1f} s{report.warm_accuracy:10.0%}",
    ]
    for name, spent in (("cold, mean", report.cold), ("warm, mean", report.warm)):
        lines += ["", name.ljust(_WIDTH) + "".join(f"{column:>{_WIDTH}}" for column in _COLUMNS), *_rows(spent)]
    return "\n".join(lines) + "\n"


def _rows(spent: Spent) -> Iterator[str]:
    yield _row("start", *_NO_CALL, spent.start)
    for role in (role for role in ROLES if role in spent.writing):
        parts = (spent.reading[role], spent.writing[role], spent.waiting[role])
        yield _row(role, *parts, sum(parts), spent.read_tokens[role], spent.written_tokens[role])
    yield _row("tools", *_NO_CALL, spent.tools)
    yield _row("rest", *_NO_CALL, spent.rest)
    sums = [sum(part.values()) for part in (spent.reading, spent.writing, spent.waiting)]
    yield _row("all", *sums, spent.total, sum(spent.read_tokens.values()), sum(spent.written_tokens.values()))


def _row(name: str, *cells: float | None) -> str:
    """A row with the cells of `_COLUMNS`; what is left out is empty."""
    texts = ["" if cell is None else f"{cell:.1f}" for cell in cells[:_SECONDS]]
    texts += ["" if cell is None else f"{cell:,.0f}" for cell in cells[_SECONDS:]]
    return name.ljust(_WIDTH) + "".join(f"{text:>{_WIDTH}}" for text in texts)
