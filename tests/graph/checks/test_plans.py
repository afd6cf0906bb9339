"""What of a doubtful plan reaches the executor, in the real graph."""

from __future__ import annotations

from typing import Literal

import pytest
from langchain_core.tools import BaseTool

from graph import Context, build_graph
from tests.graph.conftest import TAKEN, Serve, calls_text, judged, passages_tool, plan_text, prompts, verdict_text


@pytest.mark.parametrize(("context", "known"), [("21 is given", True), ("the rate is 17", False), ("a rate", True)])
async def test_made_up_figures_do_not_reach_the_executor(
    serve: Serve, tools: list[BaseTool], context: str, known: bool
) -> None:
    server = serve(planner=plan_text("double", context=context))
    await build_graph(tools=tools).ainvoke({"question": "Double 21."}, context=Context(model=server.spec, checks="on"))
    assert (context in prompts(server, "executor")[0][1][1]) == known


@pytest.mark.parametrize(("context", "known"), [("Toad Hall, a university", True), ("Toad Hall, Melbourne", False)])
async def test_made_up_names_do_not_reach_a_search(serve: Serve, context: str, known: bool) -> None:
    server = serve(planner=plan_text("look_up", context=context), executor=calls_text({"name": "film"}))
    question = "In which city is Toad Hall?"
    await build_graph(tools=[passages_tool()]).ainvoke(
        {"question": question}, context=Context(model=server.spec, checks="on")
    )
    assert (context in prompts(server, "executor")[0][1][1]) == known


@pytest.mark.parametrize(
    ("goal", "shown"),
    [("find the film's country", True), ("find where Fist Power was made", False), ('find "the film"', False)],
)
async def test_a_search_for_nothing_in_particular_is_shown_the_question(serve: Serve, goal: str, shown: bool) -> None:
    server = serve(planner=plan_text("look_up", goal), executor=calls_text({"name": "film"}))
    await build_graph(tools=[passages_tool()]).ainvoke(
        {"question": TAKEN}, context=Context(model=server.spec, checks="on")
    )
    assert (TAKEN in prompts(server, "executor")[0][1][1]) == shown


async def test_a_name_is_a_guess_also_after_a_search_for_it(serve: Serve) -> None:
    server = serve(
        planner=plan_text("look_up", "find Aman Chang"),
        executor=[calls_text({"name": "film"}), calls_text({"name": "place"})],
        verifier=[judged("unknown", "when it was taken"), judged("1842")],
    )
    await build_graph(tools=[passages_tool()]).ainvoke(
        {"question": TAKEN}, context=Context(model=server.spec, checks="on")
    )
    assert all("a result tells Aman, Chang" in prompt[1][1] for prompt in prompts(server, "executor"))


@pytest.mark.parametrize(("checks", "first", "asked"), [("on", "accept", 1), ("on", "reject", 2), ("off", "accept", 2)])
async def test_a_step_that_was_accepted_is_not_taken_again(
    serve: Serve, tools: list[BaseTool], checks: Literal["on", "off"], first: str, asked: int
) -> None:
    server = serve(
        executor=[calls_text({"number": 21}), calls_text({"number": 22})],
        verifier=[verdict_text(first, "continue"), verdict_text()],
    )
    context = Context(model=server.spec, checks=checks, max_turns=2)
    state = await build_graph(tools=tools).ainvoke({"question": "Double 21, then 22."}, context=context)
    again = state["memory"][1]
    assert len(server.asked("executor")) == asked
    assert (again["error"] is None or again["error"]["kind"]) == ("repeat" if asked == 1 else True)


@pytest.mark.parametrize(("goal", "first"), [("", [21]), ("double them", [21, -1])])
async def test_a_step_without_a_goal_or_with_a_failed_call_may_be_taken_again(
    serve: Serve, tools: list[BaseTool], goal: str, first: list[int]
) -> None:
    server = serve(
        planner=plan_text("double", goal),
        executor=[calls_text(*({"number": number} for number in first)), calls_text({"number": 22})],
        verifier=[verdict_text(then="continue"), verdict_text()],
    )
    context = Context(model=server.spec, checks="on", max_turns=2)
    state = await build_graph(tools=tools).ainvoke({"question": "Double 21, -1 and 22."}, context=context)
    assert [turn["error"] for turn in state["memory"]] == [None, None]
    assert len(server.asked("executor")) == 2


async def test_a_step_may_be_taken_again_with_what_another_has_told(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(
        planner=[plan_text("double", "double all"), plan_text("shout"), plan_text("double", "double all")],
        executor=[calls_text({"number": 21}), calls_text({"text": "and 22"}), calls_text({"number": 22})],
        verifier=[verdict_text(then="continue"), verdict_text(then="continue"), verdict_text()],
    )
    state = await build_graph(tools=tools).ainvoke(
        {"question": "Double 21 and 22."}, context=Context(model=server.spec, checks="on")
    )
    assert [turn["error"] for turn in state["memory"]] == [None, None, None]


async def test_with_other_words_a_step_is_another(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(
        planner=[plan_text("double", "double it"), plan_text("double", "double the other")],
        executor=[calls_text({"number": 21}), calls_text({"number": 22})],
        verifier=[verdict_text(then="continue"), verdict_text()],
    )
    state = await build_graph(tools=tools).ainvoke(
        {"question": "Double 21, then 22."}, context=Context(model=server.spec, checks="on")
    )
    assert [turn["error"] for turn in state["memory"]] == [None, None]
