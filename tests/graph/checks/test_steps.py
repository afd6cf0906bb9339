"""Steps that are rejected without asking a model, whatever model runs the agent."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool

from graph import Context, build_graph
from tests.graph.conftest import Serve, calls_text, plan_text, verdict_text


async def test_an_unknown_tool_is_a_failed_turn_and_the_run_goes_on(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(planner=[plan_text("calculator"), plan_text("double")])
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec))
    failed, good = state["memory"]
    assert failed["error"]["kind"] == "unknown_tool"
    assert not failed["verdict"]["accepted"]
    assert failed["verdict"]["source"] == "rules"
    assert good["verdict"]["accepted"]
    assert len(server.asked("executor")) == len(server.asked("verifier")) == 1


async def test_empty_results_and_repeats_are_rejected(serve: Serve) -> None:
    def look(name: str) -> str:
        """Look something up."""
        return "" if name == "nothing" else "something"

    server = serve(
        planner=plan_text("look"),
        executor=[calls_text({"name": "nothing"}), calls_text({"name": "x"})],
        verifier=verdict_text(then="continue"),
    )
    graph = build_graph(tools=[StructuredTool.from_function(look)])
    state = await graph.ainvoke({"question": "q"}, context=Context(model=server.spec, max_turns=3))
    assert [turn["error"] and turn["error"]["kind"] for turn in state["memory"]] == ["empty", None, "repeat"]
    assert state["ended_by"] == "turns"


@pytest.mark.parametrize(
    ("value", "kind"), [(None, "empty"), (" \n", "empty"), ([], None), ({}, None), (0, None), (False, None)]
)
async def test_that_there_are_none_is_a_result(serve: Serve, value: Any, kind: str | None) -> None:
    def look(name: str) -> Any:
        """Look something up."""
        return value

    server = serve(planner=plan_text("look"), executor=calls_text({"name": "x"}))
    graph = build_graph(tools=[StructuredTool.from_function(look)])
    state = await graph.ainvoke({"question": "q"}, context=Context(model=server.spec, max_turns=1))
    error = state["memory"][0]["error"]
    assert (error and error["kind"]) == kind
    assert len(server.asked("verifier")) == (kind is None), "a value is judged"


async def test_a_call_that_was_wrongly_rejected_is_judged_again(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(verifier=[verdict_text("reject", "continue"), verdict_text()])
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec))
    assert [turn["verdict"]["accepted"] for turn in state["memory"]] == [False, True]
    assert state["ended_by"] == "verifier"


async def test_a_planner_that_repeats_itself_in_vain_ends_in_an_answer(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(planner=plan_text("calculator"))
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec))
    assert (len(state["memory"]), state["ended_by"], state["answer"]) == (3, "stuck", "42")


async def test_a_planner_that_goes_back_and_forth_in_vain_ends_in_an_answer(
    serve: Serve, tools: list[BaseTool]
) -> None:
    server = serve(planner=[plan_text(name) for name in ("calculator", "lexicon")] * 3)  # neither is there
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec))
    assert (len(state["memory"]), state["ended_by"]) == (4, "stuck")


async def test_finish_without_a_result_is_a_failed_turn(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(planner="Tool: finish")
    context = Context(model=server.spec, analyse=False, verify="rules", answer="last_result", max_turns=2)
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=context)
    assert state["answer"] == ""
    assert [turn["error"]["kind"] for turn in state["memory"]] == ["plan", "plan"]
