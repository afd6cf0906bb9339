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
from urllib.parse import urlencode

from evals.reports.cells import Cells
from evals.reports.figure import accuracy_bars, turn_limit_figure
from evals.reports.markdown import tables
from evals.reports.metrics import by_question, summarise
from evals.reports.turn_limits import curves_of
from evals.results import Recorded, Result
from tools.counts import many

MAX_TEXT = 3_000
"""Maximum characters shown of one text."""


def page(runs: Sequence[Recorded], view: str = "") -> str:
    """The whole page: accuracies as bars, tables, and every question.

    Args:
        runs: in the order in which they are shown.
        view: name of the file beside this one that holds the page of `evals view` with these runs in this order; each
            question links to its run there. Empty: there is none.
    """
    summaries = [summarise(run) for run in runs]
    template = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    names = ", ".join(run.name for run in runs)
    return template.substitute(
        title=escape(f"Evaluation: {names}"),
        page=_whole_page(runs, view),
        bars=accuracy_bars(summaries),
        tables="\n".join(f"<h2>{escape(title)}</h2>\n{_table(cells)}" for title, cells in tables(summaries)),
        figure=turn_limit_figure(curves_of(summaries)),
        questions="\n".join(_run(run, number, view) for number, run in enumerate(runs)),
    )


def _whole_page(runs: Sequence[Recorded], view: str) -> str:
    """Where every run can be looked at turn by turn."""
    command = f"python -m evals view {' '.join(str(run.folder) for run in runs)}"
    link = f'<a href="{escape(view)}">every run, turn by turn</a>; ' if view else ""
    return f"{link}live: <code>{escape(command)}</code>"


def _table(cells: Cells) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in cells[0])
    # A space that does not break keeps a number and its sign on one line.
    rows = [[escape(cell).replace(" %", "\N{NO-BREAK SPACE}%") for cell in row] for row in cells[1:]]
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _run(run: Recorded, number: int, view: str) -> str:
    questions = "\n".join(
        _result(result, _place(number, result, view))
        for samples in by_question(run.results).values()
        for result in samples
    )
    settings = {name: value for name, value in run.settings.items() if value not in (None, "", [])}
    folded = f"<details><summary>settings</summary>{_definitions(settings)}</details>"
    return f"<h2>{escape(run.name)}: every question</h2>\n{folded}\n{questions}"


def _place(number: int, result: Result, view: str) -> str:
    """A link to a run's place in the page of `evals view`."""
    if not view:
        return ""
    place = urlencode({"set": number, "run": f"{result.task}/{result.sample}"})
    return f'<p><a href="{escape(view)}#/run?{escape(place)}">turn by turn, with every prompt</a></p>'


def _definitions(pairs: dict[str, Any]) -> str:
    items = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(_clipped(value))}</dd>" for name, value in pairs.items())
    return f"<dl>{items}</dl>"


def _clipped(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} … ({many(len(text) - MAX_TEXT, 'more character')})"


def _result(result: Result, link: str) -> str:
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
    rows = {name: value for name, value in facts.items() if value != ""}
    turns = "".join(_turn(number, turn) for number, turn in enumerate(result.turns, 1))
    title = escape(f"{result.task} · {result.sample} · {first_line}")
    summary = f'<summary><span class="mark">{mark}</span> {title}</summary>'
    return f'<details class="{mark}">{summary}{_definitions(rows)}{link}{turns}</details>'


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
    rows = {name: value for name, value in facts.items() if value}
    calls = "".join(_call(call) for call in turn.get("calls") or ())
    tool = escape(str(plan.get("tool_name") or "no tool"))
    return f"<details><summary>turn {number}: {tool}, {accepted}</summary>{_definitions(rows)}{calls}</details>"


def _call(call: dict[str, Any]) -> str:
    arguments = call.get("arguments") or {}
    inputs = "\n".join(f"{name}: {value}" for name, value in arguments.items())
    outcome = call.get("error") or call.get("result") or "(nothing)"
    return f"<pre>{escape(_clipped(inputs))}</pre><pre>{escape(_clipped(outcome))}</pre>"
