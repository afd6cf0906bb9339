"""The executor in the real graph: what it is shown, what it may not call, and how its calls end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel, Field

from graph import Context, build_graph
from tests.graph.conftest import Serve, calls_text, plan_text, prompts, verdict_text
from tools.card import ToolCard


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


async def test_a_human_is_asked_again_about_calls_that_cannot_be_made(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    graph = build_graph(tools=tools, checkpointer=InMemorySaver())
    context = Context(model=server.spec, ask_before=("double",), max_turns=1)
    config: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"question": "q"}, config, context=context)
    for arguments, words in (([{"nummer": 5}], "no argument `nummer`"), ("5", "not a list"), ([], "not a list")):
        paused = await graph.ainvoke(Command(resume={"arguments": arguments}), config, context=context)
        assert words in paused["__interrupt__"][0].value["problem"]
    state = await graph.ainvoke(Command(resume={"arguments": [{"number": 5}]}), config, context=context)
    assert state["memory"][0]["calls"][0]["result"] == "10"


async def test_nested_arguments_are_shown_whole(serve: Serve) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"ship_to": {"$ref": "#/definitions/address"}, "备注": {"type": "string"}},
        "required": ["ship_to"],
        "definitions": {"address": {"type": "object", "properties": {"street": {"type": "string"}}}},
    }
    tool = StructuredTool(name="order", description="Orders.", args_schema=schema, func=lambda **given: str(given))
    call = {"ship_to": {"street": "x"}}
    server = serve(planner=plan_text("order"), executor=calls_text(call))
    state = await build_graph(tools=[tool]).ainvoke({"question": "q"}, context=Context(model=server.spec, max_turns=1))
    assert state["memory"][0]["calls"][0]["result"] == str(call)
    assert "Input: ship_to {street}, 备注" in prompts(server, "planner")[0][0][1]
    request = server.asked("executor")[0]
    shown = json.loads(str(request.messages[0]["content"]).split("by this schema:\n")[1].splitlines()[0])
    held_to = request.body["response_format"]["json_schema"]["schema"]["properties"]["calls"]["items"]
    assert (
        shown
        == held_to
        == {
            "type": "object",
            "properties": {"ship_to": schema["definitions"]["address"], "备注": {"type": "string"}},
            "required": ["ship_to"],
            "additionalProperties": False,
        }
    )
    assert "备注" in str(request.messages[0]["content"])


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


@pytest.mark.parametrize("kind", ["words", "python"])
async def test_no_text_is_called_with_that_the_schema_refuses(serve: Serve, kind: str) -> None:
    """Neither the sub-goal that a search would take over, nor a program."""

    class Short(BaseModel):
        text: str = Field(max_length=20)

    def look(text: str) -> str:
        """Look it up."""
        return f"[1] Ada\nAda Lovelace died in London ({text})."

    words = kind == "words"
    metadata: dict[str, Any] = {"fence": "python"} if not words else {}
    card = ToolCard(input="words", quotes_sources=words, plain_words=words)
    tool = StructuredTool.from_function(look, args_schema=Short, metadata={"card": card, **metadata})
    server = serve(
        planner=plan_text("look", "Find the place where Ada Lovelace died"),
        executor=calls_text({"text": "Ada Lovelace"}) if words else ["```\nprint('Ada Lovelace')\n```", "```\n20\n```"],
    )
    context = Context(model=server.spec, max_turns=1, checks="on" if words else "off")
    state = await build_graph(tools=[tool]).ainvoke({"question": "Where did Ada Lovelace die?"}, context=context)
    [call] = state["memory"][0]["calls"]
    assert call["error"] is None
    assert len(server.asked("executor")) == (1 if words else 2)
