"""Passages about something else are none, where the checks are on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from langchain_core.tools import BaseTool

from graph import Context, build_graph
from graph.checks.evidence import Evidence
from graph.checks.passages import about_something_else
from tests.graph.conftest import Serve, calls_text, judged, passages_tool, plan_text

CAPITAL = "What is the capital of Japan?"
FENNICK = "[1] Fennick (corpus.jsonl#1)\nFennick is the capital of Brannoch.\n[2] Tamsin (corpus.jsonl#2)\nAn island."


@pytest.mark.parametrize(
    ("question", "passage", "old", "is_about_it"),
    [
        (CAPITAL, FENNICK, "", False),
        ("Was Port Ellery founded after Tolbury?", FENNICK, "", False),
        (CAPITAL, FENNICK.replace("Brannoch", "Japan"), "", True),
        ("Who is the mayor of Port Fennick?", FENNICK, "", True),
        (CAPITAL, FENNICK, "[1] Honshu\nAn island of Japan.", True),  # the second hop names what the first one found
        ("Which town is a capital?", FENNICK, "", True),
        (CAPITAL, "It is Tokyo.", "", True),
        (CAPITAL, "[1] Its capital is Tokyo.\n[2] Kyoto was the one before.", "", True),
        ("Was ist die Hauptstadt von Japan?", FENNICK, "", True),
        (CAPITAL, "", "", True),
    ],
)
def test_passages_that_name_nothing_of_the_question_are_none(
    question: str, passage: str, old: str, is_about_it: bool
) -> None:
    olds = (old,) if old else ()
    evidence = Evidence(question, (passage,), olds, passages=True, tool="search", searches_with="search")
    assert (about_something_else(evidence) is None) == is_about_it
    read = replace(evidence, tool="read_url")
    assert about_something_else(read) is None, "what was read was chosen"


@pytest.mark.parametrize(("checks", "judged_by"), [("on", "rules"), ("off", "model")])
async def test_the_verifier_is_not_led_astray(serve: Serve, checks: Any, judged_by: str) -> None:
    stated = "```python\nprint('Tokyo')\n```"
    server = serve(
        planner=[plan_text("look_up", "the capital"), plan_text("python")],
        executor=[*([] if checks == "on" else [calls_text({"name": "Japan"})]), stated],
        verifier=judged("Fennick"),
        generator="Answer: Tokyo",
    )
    tools: list[BaseTool | str] = [passages_tool(FENNICK, plain_words=True), "python"]
    context = Context(model=server.spec, checks=checks)
    state = await build_graph(tools=tools).ainvoke({"question": CAPITAL}, context=context)
    first = state["memory"][0]
    assert first["verdict"]["source"] == judged_by
    assert ("no passage found is about Japan" in first["observation"]) == (checks == "on")
    assert state["ended_by"] == ("stuck" if checks == "on" else "verifier")
    assert not (checks == "on" and server.asked("verifier"))
    assert checks == "off" or state["answer"] == "Tokyo"
