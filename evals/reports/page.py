"""The report as a self-contained HTML page: no scripts, fonts or images from elsewhere.

All text from models, tools and files is escaped, and the page's policy forbids scripts and requests, so a hostile
search result remains text. Long results are clipped; the results file has them in full.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from evals.reports.figure import turn_limit_figure
from evals.reports.markdown import Cells, tables, turn_limits
from evals.reports.metrics import by_question, summarise
from evals.results import Recorded, Result

MAX_TEXT = 3_000
"""Maximum characters shown of one text."""


def page(runs: Sequence[Recorded]) -> str:
    """The whole page."""
    summaries = [summarise(run) for run in runs]
    template = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    names = ", ".join(run.name for run in runs)
    return template.substitute(
        title=escape(f"Evaluation: {names}"),
        tables="\n".join(f"<h2>{escape(title)}</h2>\n{_table(cells)}" for title, cells in tables(summaries)),
        figure=turn_limit_figure(turn_limits(summaries)),
        questions="\n".join(_run(run) for run in runs),
    )


def _table(cells: Cells) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in cells[0])
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in cells[1:])
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _run(run: Recorded) -> str:
    questions = "\n".join(_result(result) for samples in by_question(run.results).values() for result in samples)
    settings = {name: value for name, value in run.settings.items() if value not in (None, "", [])}
    return f"<h2>{escape(run.name)}: every question</h2>\n{_definitions(settings)}\n{questions}"


def _definitions(pairs: dict[str, Any]) -> str:
    items = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(_clipped(value))}</dd>" for name, value in pairs.items())
    return f"<dl>{items}</dl>"


def _clipped(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} … ({len(text) - MAX_TEXT} more characters)"


def _result(result: Result) -> str:
    mark = "failed" if result.failure else "right" if result.correct else "wrong"
    rules = "" if result.exact == result.correct else " (under the lenient rules)"
    first_line = result.question.strip().split("\n", 1)[0][:200]
    facts = {
        "question": result.question,
        "reference": " | ".join(result.gold),
        "answer": result.prediction or "(none)",
        "verdict": f"{result.reason}{rules}",
        "failure": result.failure or "",
        "leaks": " ".join(result.leaks),
        "judge": result.judge or "",
        "turns": len(result.turns),
        "ended by": result.ended_by,
        "seconds": result.seconds,
        "usage": result.usage or "",
    }
    shown = {name: value for name, value in facts.items() if value != ""}
    turns = "".join(_turn(number, turn) for number, turn in enumerate(result.turns, 1))
    title = escape(f"{result.task} · {result.sample} · {first_line}")
    summary = f'<summary><span class="mark">{mark}</span> {title}</summary>'
    return f'<details class="{mark}">{summary}{_definitions(shown)}{turns}</details>'


def _turn(number: int, turn: dict[str, Any]) -> str:
    plan = turn.get("plan") or {}
    verdict = turn.get("verdict") or {}
    accepted = "accepted" if verdict.get("accepted") else "rejected"
    facts = {
        "sub-goal": plan.get("sub_goal", ""),
        "context": plan.get("context", ""),
        "input": plan.get("input", ""),
        "error": turn.get("error") or "",
        "missing": verdict.get("missing", ""),
        "verdict": f"{accepted} by {verdict.get('source', 'nobody')}: {verdict.get('reason', '')}",
    }
    shown = {name: value for name, value in facts.items() if value}
    calls = "".join(_call(call) for call in turn.get("calls") or ())
    tool = escape(str(plan.get("tool_name") or "no tool"))
    return f"<details><summary>turn {number}: {tool}, {accepted}</summary>{_definitions(shown)}{calls}</details>"


def _call(call: dict[str, Any]) -> str:
    arguments = call.get("arguments") or {}
    given = "\n".join(f"{name}: {value}" for name, value in arguments.items())
    outcome = call.get("error") or call.get("result") or "(nothing)"
    return f"<pre>{escape(_clipped(given))}</pre><pre>{escape(_clipped(outcome))}</pre>"
