"""A program may not take one count that a result tells for another."""

from __future__ import annotations

from typing import cast

import pytest

from graph import Context, build_graph
from graph.checks.arguments import Proposal
from graph.checks.counts import counts_in, other_count
from graph.state import State
from tests.graph.conftest import Serve, judged, passages_tool, plan_text
from tools.python import make_python_tool

PYTHON = make_python_tool()
POEM = "[1] The Old Mill\nThe Old Mill is a poem of 1851 in 48 verses of 4 lines each."
PAPER = "[1] Quarn Echo\nThe Quarn Echo sells 6,200 copies a day and appears on 6 days a week."
ISLANDS = (
    "[1] Brim\nBrim covers 94 square kilometres and has 5,640 inhabitants.\n[2] Hald\nHald has 23,700 inhabitants."
)


def complaint(code: str, question: str, *results: str) -> str | None:
    calls = [{"arguments": {}, "result": result, "error": None, "seconds": 0.0} for result in results]
    turn = {"plan": {"tool_name": "look_up"}, "calls": calls, "verdict": {"accepted": True}}
    state = cast("State", {"question": question, "messages": [], "memory": [turn]})
    return other_count(Proposal(PYTHON, [{"code": code}], state))


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        (POEM, ["48 verses", "4 lines"]),
        (PAPER, ["6,200 copies a day", "6 days a week"]),
        ("It burned down in 1944 and had 3 floors with 18 rooms", ["3 floors", "18 rooms"]),
        ("9 crowns for adults, 4.5 crowns for children", ["9 crowns", "4.5 crowns"]),
        ("2019. It was won by 3", []),
        ("", []),
    ],
)
def test_what_a_text_counts(text: str, counts: list[str]) -> None:
    assert [count.text for count in counts_in(text)] == counts


@pytest.mark.parametrize(
    ("code", "question", "result", "told"),
    [
        ("lines = 48\nprint(lines)", "How many lines does the poem The Old Mill have?", POEM, "4 lines"),
        (
            "copies_per_day = 6200\ndays_in_a_week = 7\nprint(copies_per_day * days_in_a_week)",
            "How many copies does the Quarn Echo sell in a week?",
            PAPER,
            "6 days a week",
        ),
        (
            "inhabitants_hald = 23700\ninhabitants_brim = 94\nprint(inhabitants_hald + inhabitants_brim)",
            "How many inhabitants do Hald and Brim have together?",
            ISLANDS,
            "5,640 inhabitants and 23,700 inhabitants",
        ),
    ],
)
def test_one_count_taken_for_another(code: str, question: str, result: str, told: str) -> None:
    said = complaint(code, question, result)
    assert said is not None
    assert f"but the results tell {told}" in said


def test_a_number_of_thousands_of_digits_is_told_briefly() -> None:
    said = complaint(f"lines = 0x{'F' * 5000}", "How many lines does the poem The Old Mill have?", POEM)
    assert said is not None
    assert len(said) < 500


@pytest.mark.parametrize(
    ("code", "question", "result"),
    [
        ("verses = 48\nlines_each = 4\nprint(verses * lines_each)", "How many lines has The Old Mill?", POEM),
        ("copies = 6200\ndays = 6\nprint(copies * days)", "How many copies does the Quarn Echo sell a week?", PAPER),
        ("print(48 * 4)", "How many lines does the poem The Old Mill have?", POEM),
        ("lines = 48 * 4\nprint(lines)", "How many lines does the poem The Old Mill have?", POEM),
        ("days = 30\nprint(days * 6200)", "How many copies does the Quarn Echo sell in 30 days?", PAPER),
        (
            "summit = 2418\nprint(summit - 1630)",
            "How far is it?",
            "Mount Ravn is 2,418 metres high. He climbed 37 summits.",
        ),
        ("years = 1\nprint(60 * years)", "How many kilograms in a year?", "A tree yields 60 kilograms over 20 years."),
        ("lines = True\nprint(lines)", "Has it lines?", POEM),
        ("lines = ", "How many lines?", POEM),
        ("Zeilen = 48", "Wie viele Zeilen hat das Gedicht?", "48 Strophen zu je 4 Zeilen"),
    ],
)
def test_honest_values_are_left_alone(code: str, question: str, result: str) -> None:
    assert complaint(code, question, result) is None


@pytest.mark.parametrize(
    ("second", "result"),
    [("verses = 48\nlines_each = 4\nprint(verses * lines_each)", "192"), ("lines = 48\nlines", "48")],
)
async def test_the_executor_is_told_once_and_what_it_writes_then_is_run(serve: Serve, second: str, result: str) -> None:
    executor = [f"```python\n{code}\n```" for code in ("lines = 48\nprint(lines)", second)]
    server = serve(planner=plan_text("look_up"), executor=executor, verifier=judged("done"))
    graph = build_graph(tools=[passages_tool(POEM, plain_words=True), PYTHON])
    question = {"question": "How many lines does the poem The Old Mill have?"}
    state = await graph.ainvoke(question, context=Context(model=server.spec, checks="on", max_turns=2))
    assert state["memory"][-1]["calls"][0]["result"] == result
