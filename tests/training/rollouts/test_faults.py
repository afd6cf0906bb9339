"""Whose fault it is when a run fails: the run's own is scored, an outage is tried again, a broken agent is told."""

from __future__ import annotations

import ast
import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from typing_extensions import TypedDict

from evals.loop_thread import LoopThread
from evals.task import Task
from graph.errors import AgentFlowError, ConfigError
from tests.training.rollouts.test_factory import ADD, adder, agent_of, collected
from tools.errors import ToolUnavailable
from training.rollouts.figures import step_metrics
from training.rollouts.store import RolloutStore, read_rollouts
from training.run.alarms import Alarms


class State(TypedDict, total=False):
    question: str
    answer: str


def one_node(node: Callable[[Any, State], Any]) -> Callable[[Any], Any]:
    """A function from a model to a graph of one node, plain or async, which gets the model and the state."""

    def made(model: Any) -> Any:
        async def awaited(state: State) -> State:
            answer: State = await node(model, state)
            return answer

        def called(state: State) -> State:
            answer: State = node(model, state)
            return answer

        graph = StateGraph(State)
        graph.add_node("node", awaited if asyncio.iscoroutinefunction(node) else called)
        graph.add_edge(START, "node")
        graph.add_edge("node", END)
        return graph.compile()

    return made


def literal(text: str) -> object:
    return ast.literal_eval(text)


def code(text: str) -> object:
    scope: dict[str, Any] = {}
    exec(text, scope)
    return scope["answer"]


def branch(text: str) -> object:
    if "=" in text:
        found = text.partition("=")[2]
    return found


@pytest.mark.parametrize(
    ("read", "good", "bad", "kind"),
    [
        (literal, "3", "[3 and so on", "SyntaxError"),
        (code, "answer = 3", "answer = threee", "NameError"),
        (code, "answer = 3", "import threee", "ModuleNotFoundError"),
        (branch, "x=3", "three", "UnboundLocalError"),
    ],
)
@pytest.mark.parametrize("bad_first", [True, False])
async def test_a_reply_that_cannot_be_read_as_code_is_the_runs_own_failure(
    read: Callable[[str], object], good: str, bad: str, kind: str, bad_first: bool
) -> None:
    async def node(model: Any, state: State) -> State:
        return {"answer": str(read((await model.ainvoke(state["question"])).text))}

    replies = iter([bad, good, good, good] if bad_first else [good, good, bad, good])
    rollouts = await collected(agent_of(one_node(node)), lambda text, seed: next(replies), concurrency=1)
    assert sorted((rollout.reward or 0.0, rollout.ended_by) for rollout in rollouts) == [
        (0.0, f"error: {kind}"),
        *[(1.0, "agent")] * 3,
    ]
    with pytest.raises(ConfigError, match=f"cannot run: {kind}"):  # no reply at all was good
        await collected(agent_of(one_node(node)), lambda text, seed: bad)


async def test_runs_of_an_agent_that_cannot_run_are_not_stored(tmp_path: Path) -> None:
    async def node(model: Any, state: State) -> State:
        return {"answer": str(code((await model.ainvoke(state["question"])).text))}

    store, agent = RolloutStore(tmp_path / "rollouts"), agent_of(one_node(node))
    with pytest.raises(ConfigError, match="cannot run: NameError"):
        await collected(agent, lambda text, seed: "answer = threee", store=store)
    assert not store.folder.exists()
    replies = iter(["answer = threee", *["answer = 3"] * 3])
    await collected(agent, lambda text, seed: next(replies), concurrency=1, store=store)
    assert sorted(rollout.reward or 0.0 for rollout in read_rollouts(tmp_path)) == [0.0, 1.0, 1.0, 1.0]


async def test_runs_that_came_through_before_speak_for_the_agent() -> None:
    async def node(model: Any, state: State) -> State:
        return {"answer": str(code((await model.ainvoke(state["question"])).text))}

    replies = iter(["answer = 3"] * 3 + ["answer = threee"] * 2)
    agent = agent_of(one_node(node))
    *others, last = await collected(agent, lambda text, seed: next(replies), concurrency=1)
    rollouts = await collected(agent, lambda text, seed: next(replies), done={rollout.id for rollout in others})
    assert [(rollout.id, rollout.reward) for rollout in rollouts] == [(last.id, 0.0)]


async def test_a_conversation_that_the_template_refuses_is_the_runs_own_failure_once_others_came_through() -> None:
    async def node(model: Any, state: State) -> State:
        reply = (await model.ainvoke(state["question"])).text
        if reply != "3":
            await model.bind_tools([add]).ainvoke(state["question"])
        return {"answer": reply}

    replies = iter(["3", "?", "3", "3"])
    rollouts = await collected(
        agent_of(one_node(node)), lambda text, seed: next(replies), template="phi3", concurrency=1
    )
    assert sorted(rollout.ended_by for rollout in rollouts) == ["agent", "agent", "agent", "error: ConfigError"]
    with pytest.raises(ConfigError, match="leaves out tools"):
        await collected(agent_of(one_node(node)), lambda text, seed: "?", template="phi3")


def searching(place: str, error: Callable[[], Exception]) -> Callable[[Any], Any]:
    """A graph whose node or tool meets an error before or after the model's first reply, and may go on without it."""

    @tool
    def search(query: str) -> str:
        """Search."""
        raise error()

    async def node(model: Any, state: State) -> State:
        if "after" in place:
            await model.ainvoke("What is to be searched?")
        if "node" in place:
            raise error()
        try:
            await search.ainvoke({"query": state["question"]})
        except Exception:
            if "caught" not in place:
                raise
        return {"answer": (await model.ainvoke(state["question"])).text}

    return one_node(node)


@pytest.mark.parametrize(
    "error",
    [
        lambda: ToolUnavailable("The search is down."),
        lambda: httpx.ConnectError("refused"),
        lambda: httpx.HTTPStatusError(
            "overloaded", request=httpx.Request("GET", "http://x"), response=httpx.Response(503)
        ),
    ],
)
@pytest.mark.parametrize(
    "place", ["tool before", "tool after", "node before", "node after", "tool before, caught", "tool after, caught"]
)
async def test_an_outage_is_tried_again_and_earns_nothing(place: str, error: Callable[[], Exception]) -> None:
    [rollout] = await collected(agent_of(searching(place, error)), lambda text, seed: "?", group_size=1)
    assert rollout.failure is not None
    assert (rollout.failure["kind"], rollout.attempts, rollout.reward) == ("unavailable", 3, None)
    if "caught" in place:
        [rollout] = await collected(agent_of(searching(place, error)), lambda text, seed: "3", group_size=1)
        assert rollout.reward == 1.0, "a right answer counts all the same"


async def test_a_limit_that_the_agent_sets_itself_is_no_outage() -> None:
    async def node(model: Any, state: State) -> State:
        await model.ainvoke("?")
        async with asyncio.timeout(0.01):
            await asyncio.sleep(10)
        return {}

    [rollout] = await collected(agent_of(one_node(node)), lambda text, seed: "3", group_size=1)
    assert (rollout.reward, rollout.ended_by) == (0.0, "error: TimeoutError")


async def exits_awaiting(model: Any, state: State) -> State:
    await model.ainvoke("?")
    sys.exit("bad option")


def exits(model: Any, state: State) -> State:
    model.invoke("?")
    sys.exit("bad option")


def exits_too(task: Task, state: Mapping[str, Any]) -> float:
    sys.exit("bad option")


def at_most(task: Task, state: Mapping[str, Any]) -> float:
    return 1.0 - min(1.0, abs(float(state["answer"]) - 3))


@pytest.mark.parametrize("node", [exits, exits_awaiting])
def test_code_that_exits_ends_its_run_and_not_the_training(node: Callable[[Any, State], Any]) -> None:
    loop = LoopThread()
    work = loop.start(collected(agent_of(one_node(node)), lambda text, seed: "3"))
    assert [(rollout.reward, rollout.ended_by) for rollout in work.result(60)] == [(0.0, "error: SystemExit")] * 4
    work = loop.start(collected(agent_of(searching("", ValueError)), reward=f"{__name__}:exits_too"))
    assert [rollout.failure["kind"] for rollout in work.result(60) if rollout.failure] == ["reward"] * 4
    loop.close()


async def test_an_error_of_the_reward_function_is_told() -> None:
    replies = iter(["3", "three", "3", "3"])

    async def node(model: Any, state: State) -> State:
        return {"answer": (await model.ainvoke(state["question"])).text}

    rollouts = await collected(agent_of(one_node(node)), lambda text, seed: next(replies), reward=f"{__name__}:at_most")
    [failed] = [rollout.failure for rollout in rollouts if rollout.failure]
    assert failed["kind"] == "reward"
    assert "ValueError (test_faults.py, line" in failed["message"]
    figures = step_metrics(rollouts, version=0)
    assert figures["failed/reward"] == 1
    [told] = [text for text in Alarms().check(figures) if "reward function" in text]
    assert "25% of the rollouts" in told


def asks_on(model: Any, state: State) -> State:
    while True:
        try:
            model.invoke("Once more?")
        except AgentFlowError:
            continue


async def asks_on_awaiting(model: Any, state: State) -> State:
    while True:
        await model.ainvoke("Once more?")


@pytest.mark.parametrize("node", [asks_on, asks_on_awaiting])
def test_a_run_makes_no_more_calls_than_it_may(node: Callable[[Any, State], Any]) -> None:
    loop = LoopThread()
    work = loop.start(collected(agent_of(one_node(node), most_calls=3, max_seconds=1.0), lambda text, seed: "?"))
    rollouts = work.result(60)
    assert [len(rollout.turns) for rollout in rollouts] == [3] * 4
    assert {rollout.ended_by for rollout in rollouts} == ({"time"} if node is asks_on else {"calls"})
    loop.close()


def test_nothing_of_a_run_goes_on_after_its_time() -> None:
    ended: list[str] = []

    def node(model: Any, state: State) -> State:
        try:
            while True:
                model.invoke("Once more?")
                time.sleep(0.01)
        finally:
            ended.append("so")

    loop = LoopThread()
    rollouts = loop.start(collected(agent_of(one_node(node), max_seconds=0.2), lambda text, seed: "?")).result(60)
    assert {rollout.ended_by for rollout in rollouts} == {"time"}
    loop.close()  # which waits for threads that end
    assert len(ended) == 4


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def tutorial(model: Any) -> Any:
    """A loop as tutorials write it: the node calls the tools itself."""
    bound = model.bind_tools([add])

    async def llm(state: MessagesState) -> Any:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    def tools(state: MessagesState) -> Any:
        calls = state["messages"][-1].tool_calls  # type: ignore[union-attr]
        results = [ToolMessage(str(add.invoke(call["args"])), tool_call_id=call["id"]) for call in calls]
        add.invoke({"a": 40, "b": 2})  # which no reply asked for
        return {"messages": results}

    graph = StateGraph(MessagesState)
    graph.add_node("llm", llm)
    graph.add_node("tools", tools)
    graph.add_edge(START, "llm")
    graph.add_conditional_edges("llm", lambda state: "tools" if state["messages"][-1].tool_calls else END)
    graph.add_edge("tools", "llm")
    return graph.compile()


async def test_a_tool_that_a_node_calls_itself_is_in_the_memory_once() -> None:
    def twice(text: str, seed: int) -> str:
        return adder(text, 1) if "<tool_response>" in text else f"{ADD}\n{ADD}"

    [rollout] = await collected(agent_of(tutorial), twice, group_size=1)
    first = rollout.memory[0]
    assert [(call["tool"], call["arguments"], call["result"]) for call in first["calls"]] == [
        ("add", {"a": 1, "b": 2}, "3"),
        ("add", {"a": 1, "b": 2}, "3"),
        ("add", {"a": 40, "b": 2}, "42"),
    ]
    assert first["observation"] == "3\n3\n42"
