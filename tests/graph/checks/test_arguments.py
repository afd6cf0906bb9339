"""Calls that are checked before they are made, in the real graph."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException

from graph import Context, build_graph
from tests.graph.conftest import TAKEN, Serve, calls_text, judged, passages_tool, plan_text, prompts


async def test_a_program_about_made_up_values_is_not_run(serve: Serve) -> None:
    program = "```python\nrate = 17\nprint(rate * datetime(1879, 3, 14).year)\n```"
    server = serve(planner=plan_text("python"), executor=program)
    context = Context(model=server.spec, checks="on", max_turns=1)
    state = await build_graph(tools=["python"]).ainvoke({"question": "Double 21."}, context=context)
    [turn] = state["memory"]
    assert turn["calls"] == []
    assert "`rate = 17`, `1879`, `14` are made up" in turn["observation"]
    assert "Look up first: rate" in turn["observation"]
    assert len(server.asked("executor")) == 2


async def test_the_planner_looks_up_what_a_program_lacked(serve: Serve) -> None:
    server = serve(
        planner=[plan_text("python"), plan_text("look_up"), plan_text("python")],
        executor=[
            *["```python\nyear = 1841\nprint(year + 100)\n```"] * 2,
            calls_text({"name": "place"}),
            "```python\nyear = 1842\nprint(year + 100)\n```",
        ],
        verifier=[judged("unknown", "the sum"), judged("1942")],
    )
    state = await build_graph(tools=["python", passages_tool()]).ainvoke(
        {"question": "When had Hong Kong been taken for 100 years?"}, context=Context(model=server.spec, checks="on")
    )
    refused, found, computed = state["memory"]
    assert (refused["calls"], refused["verdict"]["accepted"]) == ([], False)
    assert "neither the question nor a result tells it. Look up first: year" in prompts(server, "planner")[1][-1][1]
    assert "1842" in found["calls"][0]["result"]
    assert computed["calls"][0]["result"].strip() == "1942"


async def test_other_tools_are_not_called_with_made_up_values(serve: Serve, tools: list[BaseTool]) -> None:
    for question, calls in (("Double it.", 0), ("Double 21.", 1), ("Double twenty-one.", 1)):
        server = serve(executor=calls_text({"number": 21}))
        context = Context(model=server.spec, checks="on", max_turns=1)
        state = await build_graph(tools=tools).ainvoke({"question": question}, context=context)
        assert len(state["memory"][0]["calls"]) == calls, question


async def test_a_planner_that_writes_the_input_is_held_to_it_as_well(serve: Serve) -> None:
    server = serve(planner="Tool: python\nInput: print(1889 - 1832)")
    context = Context(model=server.spec, checks="on", max_turns=1, direct_arguments=True)
    state = await build_graph(tools=["python"]).ainvoke({"question": "How old was he in 1889?"}, context=context)
    [turn] = state["memory"]
    assert turn["calls"] == []
    assert "`1832` is made up" in turn["observation"]


async def test_a_name_from_nowhere_is_searched_for_only_on_insistence(serve: Serve) -> None:
    goal = "find who directed Fist Power, a film by Aman Chang"
    guess, better = calls_text({"name": "Chang Aman"}), calls_text({"name": "film"})
    for replies, searched in (([guess, better], "film"), ([guess, guess], "Chang Aman")):
        server = serve(planner=plan_text("look_up", goal), executor=replies)
        state = await build_graph(tools=[passages_tool()]).ainvoke(
            {"question": TAKEN}, context=Context(model=server.spec, checks="on")
        )
        first, second = prompts(server, "executor")
        assert "neither the question nor a result tells Aman, Chang" in first[1][1]
        assert TAKEN in first[1][1]
        assert "That could not be used: neither the question nor a result tells Aman" in second[-1][1]
        assert state["memory"][0]["calls"][0]["arguments"] == {"name": searched}


async def test_a_name_that_the_chat_or_a_result_tells_may_be_searched_for(serve: Serve) -> None:
    server = serve(planner=plan_text("look_up", "find Aman Chang"), executor=calls_text({"name": "by Aman Chang"}))
    said = [HumanMessage("I like Aman Chang."), AIMessage("So do I."), HumanMessage("Which films are his?")]
    await build_graph(tools=[passages_tool()]).ainvoke(
        {"messages": said}, context=Context(model=server.spec, checks="on")
    )
    assert len(server.asked("executor")) == 1


async def test_a_call_that_was_made_before_is_written_anew(serve: Serve) -> None:
    film, place = calls_text({"name": "film"}), calls_text({"name": "place"})
    server = serve(
        planner=[plan_text("look_up"), plan_text("look_up", "find the rest")],
        executor=[film, film, place],
        verifier=[judged("unknown", "when it was taken"), judged("1842")],
    )
    state = await build_graph(tools=[passages_tool()]).ainvoke(
        {"question": TAKEN}, context=Context(model=server.spec, checks="on")
    )
    assert [turn["calls"][0]["arguments"]["name"] for turn in state["memory"]] == ["film", "place"]
    assert "asked before and its result is known" in prompts(server, "executor")[2][-1][1]


async def test_the_executor_is_told_what_failed(serve: Serve) -> None:
    def fetch(name: str) -> str:
        """Fetch something."""
        if name == "x":
            raise ToolException("there is no x")
        return "something"

    server = serve(planner=plan_text("fetch"), executor=[*[calls_text({"name": "x"})] * 2, calls_text({"name": "y"})])
    graph = build_graph(tools=[StructuredTool.from_function(fetch)])
    state = await graph.ainvoke({"question": "q"}, context=Context(model=server.spec, checks="on"))
    first, second, third = (str(request.messages[-1]["content"]) for request in server.asked("executor"))
    assert "failed" not in first
    assert "This was tried and failed, so write it differently:\nx\nthere is no x" in second
    assert "this very call was made and failed" in third
    assert [[call["arguments"]["name"] for call in turn["calls"]] for turn in state["memory"]] == [["x"], ["y"]]
    assert [turn["verdict"]["accepted"] for turn in state["memory"]] == [False, True]


@pytest.mark.parametrize(
    ("goal", "chat", "query"),
    [
        ("Find who produced Fist Power", [], "Find who produced Fist Power"),
        ("Find the country", [], TAKEN),
        ("Find the country", ["I like Fist Power."], "from the model"),
        ("Find who directed Fist Power, a film by Aman Chang", [], "from the model"),
        ("查找香港", [], "from the model"),
    ],
)
@pytest.mark.parametrize("checks", ["on", "off"])
async def test_a_sub_goal_is_searched_for_as_it_is(
    serve: Serve, checks: Any, goal: str, chat: list[str], query: str
) -> None:
    server = serve(planner=plan_text("look_up", goal), executor=calls_text({"name": "from the model"}))
    tool = passages_tool(plain_words=True)
    state = await build_graph(tools=[tool]).ainvoke(
        {"messages": [HumanMessage(text) for text in (*chat, TAKEN)]}, context=Context(model=server.spec, checks=checks)
    )
    [call] = state["memory"][0]["calls"]
    assert call["arguments"] == {"name": query if checks == "on" else "from the model"}
    assert bool(server.asked("executor")) == (call["arguments"]["name"] == "from the model")


async def test_what_was_searched_for_before_is_asked_for_in_other_words(serve: Serve) -> None:
    plans = [plan_text("look_up", "Find who produced Fist Power", context) for context in ("film", "country")]
    server = serve(
        planner=plans, executor=calls_text({"name": "producer of Fist Power"}), verifier=judged("unknown", "who")
    )
    state = await build_graph(tools=[passages_tool(plain_words=True)]).ainvoke(
        {"question": TAKEN}, context=Context(model=server.spec, checks="on", max_turns=2)
    )
    asked = [turn["calls"][0]["arguments"]["name"] for turn in state["memory"]]
    assert asked == ["Find who produced Fist Power", "producer of Fist Power"]
