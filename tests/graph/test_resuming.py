"""A run that is resumed keeps the settings it began with, as far as the call that resumes it gives no others."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from graph import AgentGraph, Context, build_graph
from graph.errors import ConfigError
from graph.resuming import as_record, resumed
from tests.graph.conftest import Serve, double_tool, plan_text, shout_tool, verdict_text

THREAD: Any = {"configurable": {"thread_id": "1"}}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run that asked for the default model would fail at once."""
    for name in [name for name in os.environ if name.startswith("AGENTFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AGENTFLOW_MODEL", "fake@http://127.0.0.1:9/v1")


@pytest.fixture
def wiped() -> list[int]:
    return []


def wiping(wiped: list[int], **options: Any) -> AgentGraph:
    def wipe(number: int) -> str:
        """Delete something."""
        wiped.append(number)
        return "deleted"

    return build_graph(tools=[wipe, double_tool], checkpointer=InMemorySaver(), **options)


async def test_a_refused_call_is_not_made_when_the_resume_has_no_context(serve: Serve, wiped: list[int]) -> None:
    server = serve(planner=plan_text("wipe"), verifier=verdict_text(then="continue"))
    graph = wiping(wiped)
    context = Context(model=server.spec, ask_before=("wipe",), max_turns=2)
    assert (await graph.ainvoke({"question": "q"}, THREAD, context=context))["__interrupt__"]
    state = await graph.ainvoke(Command(resume=False), THREAD)
    assert state["__interrupt__"], "the second turn asks as well"
    state = await graph.ainvoke(Command(resume=False), THREAD)
    kinds = [turn["calls"][0]["error"] and turn["calls"][0]["error"]["kind"] for turn in state["memory"]]
    assert (kinds, wiped) == (["refused", "refused"], [])


@pytest.mark.parametrize("resumed_with", [Context(max_turns=1), {"max_turns": 1}, Context(ask_before=(), max_turns=1)])
async def test_an_approval_that_was_required_stays_so(serve: Serve, wiped: list[int], resumed_with: Any) -> None:
    server = serve(planner=plan_text("wipe"))
    graph = wiping(wiped)
    await graph.ainvoke({"question": "q"}, THREAD, context=Context(model=server.spec, ask_before=("wipe",)))
    state = await graph.ainvoke(Command(resume="no"), THREAD, context=resumed_with)
    assert (state["answer"], wiped) == ("42", [])


async def test_an_approval_that_a_resume_asked_for_stays_so(serve: Serve, wiped: list[int]) -> None:
    server = serve(planner=plan_text("wipe"))
    graph = wiping(wiped, interrupt_before=["executor"])
    await graph.ainvoke({"question": "q"}, THREAD, context=Context(model=server.spec, max_turns=1))
    assert (await graph.ainvoke(None, THREAD, context=Context(ask_before=("wipe",))))["__interrupt__"]
    await graph.ainvoke(Command(resume=False), THREAD)
    assert wiped == []


async def test_a_resume_without_a_context_keeps_model_tools_and_budgets(serve: Serve, wiped: list[int]) -> None:
    server = serve(verifier=verdict_text(then="continue"))
    graph = wiping(wiped, interrupt_before=["verifier"])
    context = Context(model=server.spec, tools=("double",), max_turns=3, verify="rules", analyse=False)
    await graph.ainvoke({"question": "q"}, THREAD, context=context)
    await graph.ainvoke(None, THREAD)
    await graph.ainvoke(None, THREAD, context=Context(max_turns=2))
    state = await graph.ainvoke(None, THREAD)
    assert (state["answer"], len(state["memory"]), state["ended_by"]) == ("42", 2, "turns")
    assert not server.asked("analyst")
    assert not server.asked("verifier")
    assert "wipe" not in str([request.messages for request in server.asked("planner")])


async def test_the_next_run_of_a_thread_has_its_own_settings(serve: Serve, wiped: list[int]) -> None:
    server = serve(planner=plan_text("wipe"))
    graph = wiping(wiped)
    await graph.ainvoke({"question": "q"}, THREAD, context=Context(model=server.spec, ask_before=("wipe",)))
    await graph.ainvoke(Command(resume=True), THREAD)
    state = await graph.ainvoke({"question": "another"}, THREAD, context=Context(model=server.spec))
    assert (state["answer"], len(wiped)) == ("42", 2)


async def test_a_tool_that_is_gone_at_the_resume_is_a_failed_step(serve: Serve) -> None:
    server = serve(planner=[plan_text("double"), plan_text("double")])
    graph = build_graph(tools=[double_tool, shout_tool], checkpointer=InMemorySaver(), interrupt_before=["executor"])
    await graph.ainvoke({"question": "q"}, THREAD, context=Context(model=server.spec, ask_before=("double",)))
    await graph.ainvoke(None, THREAD, context=Context(tools=("shout",)))
    [turn] = (await graph.aget_state(THREAD)).values["memory"]
    assert turn["error"]["kind"] == "unknown_tool"
    assert "double is not available any more" in turn["observation"]
    assert "double" not in str(server.asked("planner")[-1].messages[0])
    await graph.ainvoke(None, THREAD)


async def test_logins_are_not_stored_and_asked_for(serve: Serve, wiped: list[int]) -> None:
    server = serve()
    spec = server.spec.replace("http://", "http://me:s3cretpass@")
    graph = wiping(wiped, interrupt_before=["verifier"])
    await graph.ainvoke({"question": "q"}, THREAD, context=Context(model=spec, max_turns=1))
    saver = graph.checkpointer
    assert isinstance(saver, InMemorySaver)
    assert "s3cretpass" not in repr([*saver.list(THREAD)]) + repr(saver.blobs) + repr(saver.writes)
    with pytest.raises(ConfigError, match="give the `model` again"):
        await graph.ainvoke(None, THREAD)
    assert (await graph.ainvoke(None, THREAD, context=Context(model=spec)))["answer"] == "42"


def test_a_record_is_plain_data_that_makes_the_same_settings() -> None:
    context = Context(model="embedded", tools=("python",), ask_before=("python",), max_turns=3, report=True)
    record = json.loads(json.dumps(as_record(context, {})))
    assert resumed(None, record) == context
    assert resumed(Context(max_turns=10), record).max_turns == 10, "a default that is given counts"
    assert resumed(Context(), {**record, "of_an_earlier_version": 1}) == context
    assert as_record(context, record) == record


def test_an_address_with_a_login_stays_out_of_the_record_at_every_node() -> None:
    context = Context(model="m@http://me:s3cretpass@host/v1", planner="m@http://host/v1")
    record = as_record(context, {})
    assert record == {"model": None, "planner": "m@http://host/v1"}
    assert as_record(context, record) == record
    assert as_record(Context(model="m@http://me:s3cretpass@host/v1"), {"model": "m@http://host/v1"}) == {"model": None}


@dataclass(frozen=True, kw_only=True)
class MyContext(Context):
    tenant: str = ""


async def test_a_context_of_an_applications_own_class_is_a_whole_one(serve: Serve) -> None:
    server = serve()
    graph = build_graph(tools=[double_tool], checkpointer=InMemorySaver(), interrupt_before=["executor"])
    await graph.ainvoke({"question": "q"}, THREAD, context=MyContext(model=server.spec, tenant="a"))
    state = await graph.ainvoke(None, THREAD, context=MyContext(model=server.spec, max_turns=1))
    assert state["answer"] == "42"


async def test_a_served_graph_holds_recorded_settings_to_its_limits_as_well(serve: Serve) -> None:
    server = serve()
    graph = build_graph(
        tools=[double_tool], models=server.spec, checkpointer=InMemorySaver(), interrupt_before=["executor"],
        trust_context=False,
    )  # fmt: skip
    await graph.ainvoke({"question": "q"}, THREAD)
    mark = (await graph.aget_state(THREAD)).values.get("run") or {"question": "q", "analysis": "", "message_id": ""}
    await graph.aupdate_state(THREAD, {"run": {**mark, "settings": {"tools": ["subprocess:getoutput"]}}})
    with pytest.raises(ConfigError, match="only the operator"):
        await graph.ainvoke(None, THREAD)
