"""What an application brings: instructions, prompts of its own, and the form of the answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from graph import Context, build_graph
from graph.errors import ConfigError, ResponseFormatError
from tests.graph.conftest import Serve, prompts

ROLES = ("analyst", "planner", "executor", "verifier", "generator", "report")


class Reading(BaseModel):
    value: int = Field(ge=0)
    day: date | None = None


@dataclass
class Point:
    value: int
    day: str = ""


class Entry(TypedDict):
    value: int


SCHEMA = {"type": "object", "properties": {"value": {"type": "integer", "minimum": 0}}, "required": ["value"]}


async def test_instructions_reach_every_role(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    graph = build_graph(tools=tools, instructions="Answer in French.")
    await graph.ainvoke({"question": "q"}, context=Context(model=server.spec, report=True))
    for role in ROLES:
        [[(kind, text), *_]] = prompts(server, role)
        assert kind == "system"
        assert text.endswith("\n\nInstructions of the application:\nAnswer in French.")


KEPT = {
    "analyst": [],
    "planner": ["Tools:\n- double: Double a number.", "Tool Name: one of double, shout"],
    "executor": ["Tool: double\nDouble a number.\nInput: number", "Reply with a JSON object"],
    "verifier": ['Reply with a JSON object: "reason"'],
    "generator": ["Reply with one line:\nAnswer: the answer"],
    "report": [],
}
OPENINGS = {
    "analyst": "You analyse accounts.",
    "planner": "You are the planner of a bank.",
    "executor": "You prepare bookings.",
    "verifier": "You check bookings.",
    "generator": "You write the final balance.",
    "report": "You write a report for the board.",
}


async def test_a_prompt_is_replaced_and_the_form_of_the_reply_stays(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    graph = build_graph(tools=tools, prompts=OPENINGS, instructions="Be brief.")
    state = await graph.ainvoke({"question": "q"}, context=Context(model=server.spec, report=True))
    assert state["answer"] == "42"
    for role, kept in KEPT.items():
        [[(_, text), *_]] = prompts(server, role)
        assert text.startswith(OPENINGS[role])
        assert text.endswith("Be brief.")
        assert all(part in text for part in kept)
        assert not any(word in text for word in ("team", "Forth Bridge", "Facts come from the question"))


async def test_a_prompt_that_nobody_reads_is_refused() -> None:
    with pytest.raises(ConfigError, match="no prompt 'boss'"):
        build_graph(prompts={"boss": "You are the boss."})


@pytest.mark.parametrize(
    ("wanted", "response"),
    [
        (Reading, Reading(value=42, day=date(2020, 2, 1))),
        (Point, Point(value=42, day="2020-02-01")),
        (Entry, {"value": 42}),
        (SCHEMA, {"value": 42, "day": "2020-02-01"}),
    ],
)
async def test_the_generator_fills_in_the_response_format(
    serve: Serve, tools: list[BaseTool], wanted: Any, response: Any
) -> None:
    server = serve(structured_response='Here it is: ```json\n{"value": 42, "day": "2020-02-01"}\n```')
    graph = build_graph(tools=tools, response_format=wanted, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    state = await graph.ainvoke({"question": "q"}, config, context=Context(model=server.spec))
    assert (state["answer"], state["structured_response"]) == ("42", response)
    [request] = server.asked("structured_response")
    assert request.body["response_format"]["json_schema"]["schema"]["required"] == ["value"]
    assert '"required": ["value"]' in request.messages[0]["content"]
    assert request.messages[-1]["content"].endswith(
        "Result: 42\n\nThe verifier's reading of them: it is known\n\nAnswer: 42"
    )
    assert (await graph.aget_state(config)).values["structured_response"] == response
    assert state["usage"]["generator"]["calls"] == 2


@pytest.mark.parametrize("wanted", [Reading, SCHEMA])
async def test_a_form_gets_one_repair(serve: Serve, tools: list[BaseTool], wanted: Any) -> None:
    wrong, right = json.dumps({"value": -1}), json.dumps({"value": 1})
    server = serve(structured_response=[wrong, right])
    graph = build_graph(tools=tools, response_format=wanted)
    state = await graph.ainvoke({"question": "q"}, context=Context(model=server.spec))
    value = state["structured_response"]
    assert (value.value if isinstance(value, Reading) else value["value"]) == 1
    assert "That could not be used: " in server.asked("structured_response")[1].messages[-1]["content"]
    server = serve(structured_response=[wrong, "I cannot"])
    with pytest.raises(ResponseFormatError, match="holds no JSON"):
        await graph.ainvoke({"question": "q"}, context=Context(model=server.spec))


async def test_a_thread_keeps_no_form_of_an_earlier_question(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(structured_response=json.dumps({"value": 1}))
    saver = InMemorySaver()
    config: Any = {"configurable": {"thread_id": "t"}}
    context = Context(model=server.spec)
    await build_graph(tools=tools, response_format=SCHEMA, checkpointer=saver).ainvoke(
        {"question": "first?"}, config, context=context
    )
    state = await build_graph(tools=tools, checkpointer=saver).ainvoke({"question": "q?"}, config, context=context)
    assert state.get("structured_response") is None


@pytest.mark.parametrize("wanted", [int, list[str], {"type": "nothing"}, {"type": "array"}, type("Plain", (), {})])
def test_what_is_no_form_is_refused(wanted: Any) -> None:
    with pytest.raises(ConfigError, match="response_format"):
        build_graph(response_format=wanted)
