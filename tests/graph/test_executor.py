"""The executor in the real graph: what it is shown, what it may not call, and how its calls end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from graph import Context, build_graph
from tests.graph.conftest import TAKEN, Serve, calls_text, judged, passages_tool, plan_text, prompts, verdict_text


@pytest.mark.parametrize(
    ("executor", "kind", "words"),
    [
        (calls_text({"number": -1}), "tool", "drop the sign"),
        (calls_text({"nummer": 1}), "arguments", "nummer"),
        (calls_text({"number": "many"}), "arguments", "`number`"),
        ("I would call it with 21.", "arguments", "no JSON"),
        (calls_text(*[{"number": n} for n in range(9)]), "arguments", "at most 4"),
    ],
)
async def test_bad_calls_are_rejected_with_advice(
    serve: Serve, tools: list[BaseTool], executor: str, kind: str, words: str
) -> None:
    server = serve(executor=executor)
    context = Context(model=server.spec, max_turns=1)
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=context)
    [turn] = state["memory"]
    assert turn["error"]["kind"] == kind
    assert words in turn["observation"]
    assert not server.asked("verifier")
    assert "found nothing that held" in prompts(server, "generator")[0][1][1]
    assert state["answer"] == "42"


async def test_arguments_get_one_repair(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(executor=["21", calls_text({"number": 21})])
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec))
    assert state["memory"][0]["calls"][0]["result"] == "42"
    assert "no JSON object" in server.asked("executor")[1].messages[-1]["content"]


async def test_the_executor_is_told_what_failed(serve: Serve) -> None:
    def fetch(name: str) -> str:
        """Fetch something."""
        if name == "x":
            raise ToolException("there is no x")
        return "something"

    server = serve(planner=plan_text("fetch"), executor=[*[calls_text({"name": "x"})] * 2, calls_text({"name": "y"})])
    graph = build_graph(tools=[StructuredTool.from_function(fetch)])
    state = await graph.ainvoke({"question": "q"}, context=Context(model=server.spec))
    first, second, third = (str(request.messages[-1]["content"]) for request in server.asked("executor"))
    assert "failed" not in first
    assert "This was tried and failed, so write it differently:\nx\nthere is no x" in second
    assert "this very call was made and failed" in third
    assert [[call["arguments"]["name"] for call in turn["calls"]] for turn in state["memory"]] == [["x"], ["y"]]
    assert [turn["verdict"]["accepted"] for turn in state["memory"]] == [False, True]


async def test_a_program_about_made_up_values_is_not_run(serve: Serve) -> None:
    server = serve(planner=plan_text("python"), executor="```python\nrate = 17\nprint(rate * 7)\n```")
    context = Context(model=server.spec, max_turns=1)
    state = await build_graph(tools=["python"]).ainvoke({"question": "Double 21."}, context=context)
    [turn] = state["memory"]
    assert turn["calls"] == []
    assert "`rate = 17` is made up" in turn["observation"]
    assert len(server.asked("executor")) == 2


@pytest.mark.parametrize(("context", "known"), [("21 is given", True), ("the rate is 17", False), ("a rate", True)])
async def test_made_up_figures_do_not_reach_the_executor(
    serve: Serve, tools: list[BaseTool], context: str, known: bool
) -> None:
    server = serve(planner=plan_text("double", context=context))
    await build_graph(tools=tools).ainvoke({"question": "Double 21."}, context=Context(model=server.spec))
    assert (context in prompts(server, "executor")[0][1][1]) == known


@pytest.mark.parametrize(("context", "known"), [("Toad Hall, a university", True), ("Toad Hall, Melbourne", False)])
async def test_made_up_names_do_not_reach_a_search(serve: Serve, context: str, known: bool) -> None:
    server = serve(planner=plan_text("look_up", context=context), executor=calls_text({"name": "film"}))
    question = "In which city is Toad Hall?"
    await build_graph(tools=[passages_tool()]).ainvoke({"question": question}, context=Context(model=server.spec))
    assert (context in prompts(server, "executor")[0][1][1]) == known


@pytest.mark.parametrize(
    ("goal", "shown"),
    [("find the film's country", True), ("find where Fist Power was made", False), ('find "the film"', False)],
)
async def test_a_search_for_nothing_in_particular_is_shown_the_question(serve: Serve, goal: str, shown: bool) -> None:
    server = serve(planner=plan_text("look_up", goal), executor=calls_text({"name": "film"}))
    await build_graph(tools=[passages_tool()]).ainvoke({"question": TAKEN}, context=Context(model=server.spec))
    assert (TAKEN in prompts(server, "executor")[0][1][1]) == shown


async def test_a_name_from_nowhere_is_searched_for_only_on_insistence(serve: Serve) -> None:
    goal = "find who directed Fist Power, a film by Aman Chang"
    guess, better = calls_text({"name": "Chang Aman"}), calls_text({"name": "film"})
    for replies, searched in (([guess, better], "film"), ([guess, guess], "Chang Aman")):
        server = serve(planner=plan_text("look_up", goal), executor=replies)
        state = await build_graph(tools=[passages_tool()]).ainvoke(
            {"question": TAKEN}, context=Context(model=server.spec)
        )
        first, second = prompts(server, "executor")
        assert "neither the question nor a result tells Aman, Chang" in first[1][1]
        assert TAKEN in first[1][1]
        assert "That could not be used: neither the question nor a result tells Aman" in second[-1][1]
        assert state["memory"][0]["calls"][0]["arguments"] == {"name": searched}


async def test_a_name_is_a_guess_also_after_a_search_for_it(serve: Serve) -> None:
    server = serve(
        planner=plan_text("look_up", "find Aman Chang"),
        executor=[calls_text({"name": "film"}), calls_text({"name": "place"})],
        verifier=[judged("unknown", "when it was taken"), judged("1842")],
    )
    await build_graph(tools=[passages_tool()]).ainvoke({"question": TAKEN}, context=Context(model=server.spec))
    assert all("a result tells Aman, Chang" in prompt[1][1] for prompt in prompts(server, "executor"))


async def test_a_name_that_the_chat_or_a_result_tells_may_be_searched_for(serve: Serve) -> None:
    server = serve(planner=plan_text("look_up", "find Aman Chang"), executor=calls_text({"name": "by Aman Chang"}))
    said = [HumanMessage("I like Aman Chang."), AIMessage("So do I."), HumanMessage("Which films are his?")]
    await build_graph(tools=[passages_tool()]).ainvoke({"messages": said}, context=Context(model=server.spec))
    assert len(server.asked("executor")) == 1


async def test_a_call_that_was_made_before_is_written_anew(serve: Serve) -> None:
    film, place = calls_text({"name": "film"}), calls_text({"name": "place"})
    server = serve(
        planner=plan_text("look_up"),
        executor=[film, film, place],
        verifier=[judged("unknown", "when it was taken"), judged("1842")],
    )
    state = await build_graph(tools=[passages_tool()]).ainvoke({"question": TAKEN}, context=Context(model=server.spec))
    assert [turn["calls"][0]["arguments"]["name"] for turn in state["memory"]] == ["film", "place"]
    assert "asked before and its result is known" in prompts(server, "executor")[2][-1][1]


async def test_a_slow_tool_is_stopped_and_leaves_nothing_running(serve: Serve) -> None:
    events: list[str] = []

    async def dawdle(number: int) -> str:
        """Take one's time."""
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            events.append("stopped")
            raise
        return "done"

    tool = StructuredTool.from_function(coroutine=dawdle, name="dawdle", metadata={"time_limit": 0.2})
    server = serve(planner=plan_text("dawdle"))
    context = Context(model=server.spec, max_turns=1)
    state = await build_graph(tools=[tool]).ainvoke({"question": "q"}, context=context)
    assert state["memory"][0]["error"]["kind"] == "timeout"
    assert "within 0.2 seconds" in state["memory"][0]["observation"]
    assert events == ["stopped"]


async def test_a_human_is_asked_before_a_call(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    graph = build_graph(tools=tools, checkpointer=InMemorySaver())
    context = Context(model=server.spec, ask_before=("double",), max_turns=1)

    async def run(thread: str, answer: Any) -> dict[str, Any]:
        config: Any = {"configurable": {"thread_id": thread}}
        paused = await graph.ainvoke({"question": "q"}, config, context=context)
        assert paused["__interrupt__"][0].value == {"tool": "double", "sub_goal": "find it", "calls": [{"number": 21}]}
        state = await graph.ainvoke(Command(resume=answer), config, context=context)
        return dict(state["memory"][0]["calls"][0])

    assert (await run("yes", True))["result"] == "42"
    assert (await run("edit", {"arguments": [{"number": 5}]}))["result"] == "10"
    refused = await run("no", "too dear")
    assert refused["error"] == {"kind": "refused", "message": "a human refused the call: too dear"}
    assert len(server.asked("executor")) == 3, "the arguments are not written again after the pause"


async def test_long_results_are_clipped_once(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(
        planner=[plan_text("shout"), plan_text("double")],
        executor=[calls_text({"text": "x" * 5000}), calls_text({"number": 1})],
        verifier=[verdict_text(then="continue"), verdict_text()],
    )
    context = Context(model=server.spec, max_result_chars=100)
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=context)
    result = state["memory"][0]["calls"][0]["result"]
    assert "4,900 characters left out" in result
    assert result in prompts(server, "planner")[1][-1][1]
