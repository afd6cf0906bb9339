"""Amounts and choices are computed by a program from the passages, where the checks are on."""

from __future__ import annotations

import re
import time

import pytest
from langchain_core.tools import BaseTool, StructuredTool

from graph import Context, build_graph
from graph.checks.computing import is_computed, program_next
from graph.checks.evidence import Evidence
from tests.graph.conftest import Serve, calls_text, judged, plan_text, prompts
from tools.card import ToolCard

OPERA = "The Opera of Valdane has 26 rows of 32 seats."
SEATS = "How many seats does the Opera of Valdane have?"
PROGRAM = "```python\nrows = 26\nseats_in_a_row = 32\nprint(rows * seats_in_a_row)\n```"


def missing(question: str, *passages: str, asked_for: tuple[str, ...] = (), tool: str = "python") -> str | None:
    """What is named as missing without asking a model."""
    evidence = Evidence(question, passages, (), passages=True, asked_for=asked_for, computes_with=tool)
    verdict = program_next(evidence)
    return None if verdict is None else verdict["missing"]


@pytest.mark.parametrize(
    "question",
    [
        SEATS,
        "What is the average speed of the train to Valdane?",
        "Which opened first, the Opera of Valdane or its theatre?",
        "Who is the oldest singer of Valdane?",
        "Which of the towns near Valdane has the most inhabitants?",
        "Put the theatres of Valdane in the order of their opening.",
        "Were the founders of Valdane born in the same town? Answer yes or no.",
        "Is Valdane older than its opera? Answer yes or no.",
    ],
)
def test_an_amount_and_a_choice_are_computed(question: str) -> None:
    told = missing(question, OPERA)
    assert told is not None
    assert "compute it from the results with the tool python" in told


@pytest.mark.parametrize(
    "question",
    [
        "Who designed the Opera of Valdane?",
        "When was the Opera of Valdane opened?",
        "In which town is the Opera of Valdane?",
        "What is the capital of Valdane?",
    ],
)
def test_a_fact_is_read(question: str) -> None:
    assert missing(question, OPERA) is None


def test_what_no_passage_names_is_searched_first() -> None:
    question = "By how many square kilometres is Sarn larger than Valdane?"
    assert missing(question, "Sarn covers 905 square kilometres.") == "a result about Valdane"
    told = ("a result about Valdane",)
    assert missing(question, "Sarn covers 905 square kilometres.", asked_for=told) is None
    assert "compute" in str(missing(question, "Valdane covers 640.", "Sarn covers 905.", asked_for=told))


def test_names_in_another_script_are_left_to_the_model() -> None:
    assert missing(SEATS, "瓦尔丹歌剧院有二十六排，每排三十二个座位。") is None


def test_a_program_is_asked_for_once_and_only_where_one_can_be_run() -> None:
    told = missing(SEATS, OPERA)
    assert told is not None
    assert missing(SEATS, OPERA, asked_for=(told,)) is None
    assert missing(SEATS, OPERA, tool="") is None


def opera_tool() -> BaseTool:
    def look_up(name: str) -> str:
        """Look something up."""
        return OPERA

    return StructuredTool.from_function(look_up, metadata={"card": ToolCard(input="a name", quotes_sources=True)})


@pytest.mark.parametrize("checks", ["on", "off"])
async def test_the_program_serves_the_question(serve: Serve, checks: str) -> None:
    server = serve(
        planner=[plan_text("look_up", "find the rows"), plan_text("python", "find the rows", "7 rows")],
        executor=[calls_text({"name": "opera"}), PROGRAM],
        verifier=[judged("26", "the seats") if checks == "off" else judged("832"), judged("832")],
    )
    context = Context(model=server.spec, checks=checks, max_turns=2)  # type: ignore[arg-type]
    state = await build_graph(tools=[opera_tool(), "python"]).ainvoke({"question": SEATS}, context=context)
    first, second = state["memory"]
    asked = prompts(server, "executor")[1][-1][1]
    assert SEATS in asked
    assert OPERA in asked
    assert second["calls"][0]["result"] == "832"
    assert len(prompts(server, "verifier")) == (1 if checks == "on" else 2)
    assert (re.search("rows", asked.replace(OPERA, "")) is None) == (checks == "on")
    assert (first["verdict"]["source"] == "rules") == (checks == "on")
    assert state["answer"] == ("832" if checks == "on" else "42")


def test_a_long_question_is_read_in_a_moment() -> None:
    for part in ("who which ", "same than ", "how in the order ", "a"):
        began = time.perf_counter()
        is_computed(part * (200_000 // len(part)))
        assert time.perf_counter() - began < 1
