"""A small verifier is shown the sentences that a program's values come from."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool

from graph import Context, build_graph
from graph.checks.excerpts import sentences_with_values
from tests.graph.conftest import Serve, judged, passages_tool, plan_text, prompts
from tools.registry import load_tool

PASSAGES = (
    "[1] Opera of Valdane (corpus.jsonl#4)\nIt was designed by Ludo Hask. It has 26 rows of 32 seats.\n"
    "[2] Torrance Mill (corpus.jsonl#9)\nA town with 12,900 inhabitants."
)
QUESTION = "How many seats does the Opera of Valdane have?"


async def shown(serve: Serve, program: str, checks: Any = "on", passages: str = PASSAGES) -> str:
    """What the verifier is shown of a search when it judges the program that follows."""
    server = serve(
        planner=[plan_text("look_up", "find the Opera of Valdane"), plan_text("python")],
        executor=program if checks == "on" else ['{"calls": [{"name": "place"}]}', program],
        verifier=judged("832") if checks == "on" else [judged("unknown", "the seats"), judged("832")],
    )
    tools: list[BaseTool | str] = [passages_tool(passages, plain_words=True), "python"]
    await build_graph(tools=tools).ainvoke({"question": QUESTION}, context=Context(model=server.spec, checks=checks))
    told = prompts(server, "verifier")[-1][-1][1]
    return told[told.index("Result:") : told.index("(the last, to be judged)")]


async def test_the_sentences_with_its_numbers_stay_under_their_title(serve: Serve) -> None:
    told = await shown(serve, "```python\nrows = 26\nprint(rows * 32)\n```")
    assert "[1] Opera of Valdane (corpus.jsonl#4)\nIt has 26 rows of 32 seats." in told
    assert "Ludo Hask" not in told
    assert "Torrance Mill" not in told


async def test_the_sentences_with_its_names_stay(serve: Serve) -> None:
    told = await shown(serve, '```python\nseats = {"Ludo Hask": 26 * 32}\nprint(max(seats.values()))\n```')
    assert "designed by Ludo Hask. It has 26 rows" in told


@pytest.mark.parametrize("passages", [PASSAGES.replace("26", "27").replace("32", "33"), "There are many."])
async def test_passages_without_its_values_are_shown_whole(serve: Serve, passages: str) -> None:
    told = await shown(serve, "```python\nprint(len('seats') * 100)\n```", passages=passages)
    assert passages in told


async def test_a_strong_verifier_reads_all(serve: Serve) -> None:
    assert PASSAGES in await shown(serve, "```python\nrows = 26\nprint(rows * 32)\n```", "off")


PAGE = "Opera of Valdane (https://example.org/opera)\n"
UNTITLED = "[1] Ludo Hask designed it. It has 26 rows of 32 seats.\n[2] Its roof is green."


@pytest.mark.parametrize("head", [PAGE, ""])
@pytest.mark.parametrize("value", ["26", "'Ludo Hask'"])
async def test_passages_without_a_title_are_text(serve: Serve, head: str, value: str) -> None:
    """As `read_url` quotes a long page, whose title has a name of the program."""
    name = "Opera" if head else "rows"
    told = await shown(serve, f"```python\nprint({{'{name}': {value}}})\n```", passages=head + UNTITLED)
    telling = "It has 26 rows of 32 seats." if value == "26" else "Ludo Hask designed it."
    assert f"Result: {head}[1] {telling}" in told
    assert "green" not in told


async def test_a_page_whose_title_alone_has_a_name_is_shown_whole(serve: Serve) -> None:
    page = f"{PAGE}[1] There are many seats.\n[2] Its roof is green."
    assert page in await shown(serve, "```python\nprint(len('Opera') * 100)\n```", passages=page)


async def test_a_passage_without_a_title_may_have_several_lines(serve: Serve) -> None:
    told = await shown(serve, "```python\nprint(26 * 2)\n```", passages="[1] It has 26 rows.\nIts roof is green.")
    assert "Result: [1] It has 26 rows.\n" in told
    assert "green" not in told


def test_an_empty_result_is_left_as_it_is() -> None:
    tools: list[BaseTool] = [load_tool("python"), passages_tool()]
    turn = {"plan": {"tool_name": "look_up"}, "calls": [{"arguments": {}, "result": "", "error": None}]}
    state: Any = {"plan": {"tool_name": "python"}, "calls": [{"arguments": {"code": "print(26)"}}], "memory": [turn]}
    assert sentences_with_values(state, tools)["memory"] == [turn]
