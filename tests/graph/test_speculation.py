"""Planning ahead: the same prompts and the same answer, fewer waits, and nothing left of a wrong guess."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any
from zlib import crc32

import pytest
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver

from evals.speed.fake_server import ChatReply, ChatRequest, FakeModelServer
from graph import Context, build_graph
from graph.errors import ModelUnavailable
from tests.graph.conftest import calls_text, plan_text, verdict_text

Serve = Callable[..., FakeModelServer]


def replies(turns: int, **more: Any) -> dict[str, Any]:
    """A run whose every reply depends on all that its module was told, so that any difference shows."""

    def goal(request: ChatRequest) -> str:
        told = crc32(json.dumps(request.messages).encode())
        return plan_text("double", f"goal {told}")

    def number(request: ChatRequest) -> str:
        return calls_text({"number": crc32(request.messages[-1]["content"].encode())})

    def verdict(request: ChatRequest) -> str:
        words = "good, " * request.turn + "all told"
        return verdict_text(then="stop" if request.turn >= turns else "continue", reason=words)

    def answer(request: ChatRequest) -> str:
        return f"Answer: {crc32(request.messages[-1]['content'].encode())}"

    return {"planner": goal, "executor": number, "verifier": verdict, "generator": answer, **more}


def sent(server: FakeModelServer, role: str) -> list[str]:
    """The prompts of one module, each once, in order."""
    return list(dict.fromkeys(json.dumps(request.messages) for request in server.asked(role)))


def compared(state: dict[str, Any]) -> Any:
    """What must not differ between a run that plans ahead and one that does not."""
    turns = [
        {**turn, "calls": [{**call, "seconds": 0.0} for call in turn["calls"]]}  # wall time differs in any case
        for turn in state["memory"]
    ]
    return state["answer"], state["ended_by"], state["analysis"], turns, [message.text for message in state["messages"]]


async def run(server: FakeModelServer, tools: list[BaseTool], **settings: Any) -> dict[str, Any]:
    context = Context(model=server.spec, **settings)
    return dict(await build_graph(tools=tools).ainvoke({"question": "q"}, context=context))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"verifier": [verdict_text("reject", "continue", "off"), verdict_text(then="continue"), verdict_text()]},
        {"verifier": ["no verdict at all", "nor here", verdict_text(then="continue"), verdict_text()]},
        {"planner": [plan_text("double", "one"), "nothing", plan_text("double", "two")]},
        {"executor": [calls_text({"number": -1}), calls_text({"number": 2}), calls_text({"number": 3})]},
        {"verifier": [verdict_text(reason="it is 54"), verdict_text()]},  # a number from nowhere: the rules go on
    ],
)
@pytest.mark.parametrize("brief", [False, True])
async def test_the_run_is_the_same(serve: Serve, tools: list[BaseTool], more: dict[str, Any], brief: bool) -> None:
    plain, ahead = serve(**replies(3, **more)), serve(**replies(3, **more))
    if isinstance(more.get("planner"), list):  # one reply per request: a step planned in vain would shift them
        ahead._reply = _by_turn(more["planner"], ahead._reply)
    expected = await run(plain, tools, brief_verdicts=brief)
    state = await run(ahead, tools, brief_verdicts=brief, speculate=True)
    assert compared(state) == compared(expected)
    for role in ("executor", "verifier", "generator"):
        assert sent(ahead, role) == sent(plain, role)
    assert set(sent(plain, "planner")) <= set(sent(ahead, "planner"))
    taken = {role: cost["calls"] for role, cost in state["usage"].items() if role != "discarded"}
    assert taken == {role: cost["calls"] for role, cost in expected["usage"].items()}


def _by_turn(texts: list[str], others: Callable[[ChatRequest], Any]) -> Callable[[ChatRequest], Any]:
    def reply(request: ChatRequest) -> Any:
        return texts[min(request.turn, len(texts)) - 1] if request.role == "planner" else others(request)

    return reply


@pytest.mark.parametrize("speculate", [False, True])
async def test_steps_are_planned_while_verdicts_are_made(serve: Serve, tools: list[BaseTool], speculate: bool) -> None:
    planned: set[int] = set()
    ahead: list[bool] = []
    plain = replies(3)

    def goal(request: ChatRequest) -> str:
        planned.add(request.turn)
        return str(plain["planner"](request))

    async def verdict(request: ChatRequest) -> str:
        """The first two wait for the next step to be planned: long where it shall be, a moment where it must not."""
        for _ in range(3000 if speculate else 30):
            if request.turn == 3 or request.turn + 1 in planned:
                break
            await asyncio.sleep(0.01)
        ahead.append(request.turn + 1 in planned)
        return str(plain["verifier"](request))

    server = serve(**{**plain, "planner": goal, "verifier": verdict})
    state = await run(server, tools, brief_verdicts=True, speculate=speculate, max_turns=3)
    assert len(server.asked("planner")) == state["usage"]["planner"]["calls"] == 3
    assert "discarded" not in state["usage"], "nothing is planned ahead of the last turn's end"
    assert ahead == [speculate, speculate, False]


async def test_a_step_planned_in_vain_is_given_up_and_counted_apart(serve: Serve, tools: list[BaseTool]) -> None:
    def goal(request: ChatRequest) -> ChatReply:
        return ChatReply(plan_text("double"), delay=100 if request.turn == 2 else 0)

    server = serve(planner=goal)
    began = time.perf_counter()
    state = await run(server, tools, brief_verdicts=True, speculate=True)
    assert time.perf_counter() - began < 60, "nobody waits for it"
    assert state["usage"]["planner"]["calls"] == 1
    assert state["usage"]["discarded"]["calls"] == 1
    assert (len(state["memory"]), state["answer"]) == (1, "42")
    assert len([task for task in asyncio.all_tasks() if task is not asyncio.current_task()]) == 0


async def test_a_verifier_that_gives_reasons_is_not_guessed_twice(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(**replies(4))
    state = await run(server, tools, speculate=True)
    assert len(state["memory"]) == 4
    assert state["usage"]["discarded"]["calls"] == 1
    assert "Accepted: good, all told" in state["memory"][0]["observation"]
    silent = serve(**replies(4, verifier=lambda r: verdict_text(then="stop" if r.turn >= 4 else "continue", reason="")))
    state = await run(silent, tools, speculate=True, max_turns=4)
    assert "discarded" not in state["usage"], "a verifier without words is foreseen without brief verdicts too"


async def test_brief_verdicts_keep_reasons_for_the_record_and_for_rejections(
    serve: Serve, tools: list[BaseTool]
) -> None:
    verdicts = [verdict_text("reject", "continue", "not that"), verdict_text(then="continue"), verdict_text()]
    server = serve(**replies(3, verifier=verdicts))
    state = await run(server, tools, brief_verdicts=True)
    rejected, accepted, _ = state["memory"]
    assert "Rejected: not that" in rejected["observation"]
    assert "Accepted.\n" in accepted["observation"]
    assert accepted["verdict"]["reason"] == "it is known"


async def test_a_planner_that_fails_ahead_of_time_is_asked_again(serve: Serve, tools: list[BaseTool]) -> None:
    broken: list[ChatReply] = [ChatReply("overloaded", status=503)] * 3  # the call and its two retries

    def goal(request: ChatRequest) -> str | ChatReply:
        return broken.pop() if request.turn == 2 and broken else plan_text("double", f"turn {request.turn}")

    server = serve(**replies(2, planner=goal))
    state = await run(server, tools, brief_verdicts=True, speculate=True)
    assert (len(state["memory"]), state["ended_by"]) == (2, "verifier")
    assert state["usage"]["planner"]["calls"] == 2


async def test_a_verifier_that_fails_leaves_no_step_behind(serve: Serve, tools: list[BaseTool]) -> None:
    def goal(request: ChatRequest) -> ChatReply:
        return ChatReply(plan_text("double"), delay=30 if request.turn == 2 else 0)

    server = serve(planner=goal, verifier=ChatReply("overloaded", status=503))
    with pytest.raises(ModelUnavailable):
        await run(server, tools, brief_verdicts=True, speculate=True)
    assert len([task for task in asyncio.all_tasks() if task is not asyncio.current_task()]) == 0


@pytest.mark.parametrize("slow", ["planner", "verifier"])
async def test_the_time_budget_holds(serve: Serve, tools: list[BaseTool], slow: str) -> None:
    def late(text: str) -> Callable[[ChatRequest], ChatReply]:
        return lambda request: ChatReply(text, delay=100 if request.turn == (2 if slow == "planner" else 1) else 0)

    text = plan_text("double") if slow == "planner" else verdict_text(then="continue")
    server = serve(**replies(3, **{slow: late(text)}))
    began = time.perf_counter()
    state = await run(server, tools, brief_verdicts=True, speculate=True, max_seconds=1)
    assert time.perf_counter() - began < 60
    assert (state["ended_by"], len(state["memory"])) == ("time", 1)


async def test_the_planned_step_survives_a_pause_and_an_edited_memory_is_planned_for_anew(
    serve: Serve, tools: list[BaseTool]
) -> None:
    server = serve(**replies(2))
    graph = build_graph(tools=tools, checkpointer=InMemorySaver(), interrupt_before=["planner"])
    context = Context(model=server.spec, brief_verdicts=True, speculate=True)
    for thread, edited in (("as it was", False), ("edited", True)):
        config: Any = {"configurable": {"thread_id": thread}}
        await graph.ainvoke({"question": "q"}, config, context=context)
        await graph.ainvoke(None, config, context=context)  # up to the second visit of the planner
        paused = await graph.aget_state(config)
        assert paused.next == ("planner",)
        server.requests.clear()
        if edited:
            await graph.aupdate_state(config, {"analysis": "a better one"})
        state = await graph.ainvoke(None, config, context=context)
        assert len(state["memory"]) == 2
        asked = [request for request in server.asked("planner") if request.turn == 2]
        assert len(asked) == edited
        assert state["usage"]["planner"]["calls"] == 2


async def test_streams_show_taken_steps_under_the_planner_and_no_others(serve: Serve, tools: list[BaseTool]) -> None:
    def goal(request: ChatRequest) -> str:
        return plan_text("double", f"step {request.turn}")

    server = serve(**replies(2, planner=goal))
    context = Context(model=server.spec, brief_verdicts=True, speculate=True)
    tokens: dict[str, str] = {}
    order: list[str] = []
    modes = ["updates", "messages"]
    async for mode, part in build_graph(tools=tools).astream({"question": "q"}, context=context, stream_mode=modes):
        if mode == "messages":
            chunk, metadata = part
            node = metadata["langgraph_node"]
            tokens[node] = tokens.get(node, "") + str(chunk.text)
        else:
            order += [name for name in part if name in ("planner", "executor", "verifier", "generator")]
    assert order == ["planner", "executor", "verifier"] * 2 + ["generator"]
    assert "step 1" in tokens["planner"]
    assert "step 2" in tokens["planner"]
    assert not any("step" in text for node, text in tokens.items() if node == "verifier")
    assert "step 3" not in "".join(tokens.values()), "planned in vain"
    assert any(request.turn == 3 for request in server.asked("planner"))


def test_synchronous_runs_plan_ahead_too(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(**replies(3))
    context = Context(model=server.spec, brief_verdicts=True, speculate=True, max_turns=3)
    state = build_graph(tools=tools).invoke({"question": "q"}, context=context)
    assert (len(state["memory"]), len(server.asked("planner"))) == (3, 3)
