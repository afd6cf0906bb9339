"""Summaries of runs as Markdown tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from evals.reports.cells import Cells, percent, table
from evals.reports.metrics import Summary
from evals.reports.turn_limits import curves_of, limits


def shares(counts: Counter[str]) -> str:
    """Counts as "name n (share)", most frequent first."""
    total = counts.total()
    return ", ".join(f"{name} {n} ({percent(n / total)})" for name, n in counts.most_common()) or "none"


def counted(counts: Counter[str]) -> str:
    """Counts as "name n", most frequent first."""
    return ", ".join(f"{name} {n}" for name, n in counts.most_common()) or "none"


def overview(summaries: Sequence[Summary]) -> Cells:
    """The main table: a head and one row per run."""
    head = ["run", "exact", "95 % interval", "lenient", "questions", "failures", "turns", "seconds", "calls",
            "tokens in", "tokens out", "benchmark", "mode"]  # fmt: skip
    return [head, *(_overview_row(summary) for summary in summaries)]


def _overview_row(summary: Summary) -> list[str]:
    samples = int(summary.settings.get("samples", 1))
    count = str(summary.questions) if samples == 1 else f"{summary.questions} x {samples}"
    if summary.unfinished:
        count += f" (unfinished: {summary.results} of {summary.expected})"
    low, high = summary.interval
    costs = summary.roles.values()
    return [
        summary.name,
        percent(summary.accuracy),
        f"{percent(low)} to {percent(high)}",
        percent(summary.lenient),
        count,
        str(summary.failures.total()),
        f"{summary.turns:.2f}",
        f"{summary.seconds:.1f}",
        f"{sum(cost.calls for cost in costs):.1f}",
        f"{sum(cost.input_tokens for cost in costs):.0f}",
        f"{sum(cost.output_tokens for cost in costs):.0f}",
        str(summary.settings.get("benchmark", "")),
        str(summary.settings.get("mode", "")),
    ]


def families(summaries: Sequence[Summary]) -> Cells:
    """Accuracy by kind of question, for runs whose benchmark names the kinds."""
    head = ["run", "family", "exact", "95 % interval", "lenient", "questions"]
    rows = [
        [
            summary.name,
            family,
            percent(accuracy.exact),
            f"{percent(accuracy.interval[0])} to {percent(accuracy.interval[1])}",
            percent(accuracy.lenient),
            str(accuracy.questions),
        ]
        for summary in summaries
        for family, accuracy in summary.families.items()
    ]
    return [head, *rows]


def details(summaries: Sequence[Summary]) -> Cells:
    """The explanation of the main table: one row per run."""
    head = [
        "run",
        "pass@k",
        "partial score",
        "tools by turn",
        "rejected turns",
        "errors",
        "failures",
        "ended by",
        "leaks",
    ]
    rows = [
        [
            summary.name,
            ", ".join(f"@{k} {percent(rate)}" for k, rate in summary.pass_at.items()),
            f"{summary.value:.3f}",
            shares(summary.tools),
            _rejected(summary),
            counted(summary.errors),
            counted(summary.failures),
            counted(summary.ended_by),
            str(summary.leaks),
        ]
        for summary in summaries
    ]
    return [head, *rows]


def _rejected(summary: Summary) -> str:
    total = summary.rejected.total()
    if not total:
        return "none"
    return f"{total} of {summary.all_turns} ({percent(total / summary.all_turns)}; {counted(summary.rejected)})"


def roles(summaries: Sequence[Summary]) -> Cells:
    """Average calls, tokens and seconds of each role per run."""
    head = ["run", "role", "calls", "tokens in", "tokens out", "seconds"]
    rows = [
        [
            summary.name,
            role,
            f"{cost.calls:.2f}",
            f"{cost.input_tokens:.0f}",
            f"{cost.output_tokens:.0f}",
            f"{cost.seconds:.2f}",
        ]
        for summary in summaries
        for role, cost in sorted(summary.roles.items())
    ]
    return [head, *rows]


def judges(summaries: Sequence[Summary]) -> Cells:
    """The judge compared with the exact scorer, for runs that had one."""
    head = ["run", "judge", "opinions", "judged accuracy", "agreement", "only judge", "only scorer"]
    rows = [
        [
            summary.name,
            str(summary.settings.get("judge", "")),
            str(summary.judge.opinions),
            percent(summary.judge.accuracy),
            percent(summary.judge.agreement),
            str(summary.judge.only_judge),
            str(summary.judge.only_scorer),
        ]
        for summary in summaries
        if summary.judge is not None
    ]
    return [head, *rows]


def tables(summaries: Sequence[Summary]) -> list[tuple[str, Cells]]:
    """All tables that have rows, with their titles."""
    every = [
        ("Accuracy and cost", overview(summaries)),
        ("Accuracy by family of questions", families(summaries)),
        ("What happened", details(summaries)),
        ("Average cost by role per run", roles(summaries)),
        ("Accuracy and turns by turn limit", limits(curves_of(summaries))),
        ("Judge compared with the exact scorer", judges(summaries)),
    ]
    return [(title, cells) for title, cells in every if len(cells) > 1]


def markdown(summaries: Sequence[Summary]) -> str:
    """The report as Markdown tables."""
    parts = [f"## {title}\n\n{table(cells)}" for title, cells in tables(summaries)]
    return "\n\n".join(parts) + "\n"
