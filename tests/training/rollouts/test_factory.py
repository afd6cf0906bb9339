"""Somebody else's graphs, unchanged: roles, input, answer, interrupts, and whose fault it is when one fails."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

from evals.speed.fake_server import FakeModelServer
from evals.task import Task
from graph.errors import ConfigError
from graph.models.spec import make_model
from tests.training.support.scripted_engine import ScriptedEngine
from tools.errors import ToolUnavailable
from training.engines.base import Sampling
from training.rollouts.breakdown import parts_of
from training.rollouts.collector import Collector, CollectorSettings
from training.rollouts.factory import FactoryAgent, value_at
from training.rollouts.figures import step_metrics
from training.rollouts.graph_run import GraphOptions
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import Rollout
from training.rollouts.rewards import make_reward
from training.rollouts.store import RolloutStore, read_rollouts

TASK = Task(id="t", question="What is 1 + 2?", answers=("3",), metadata={"steps": [{"tool": "add", "result": "3"}]})
ADD = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def adder(text: str, seed: int) -> str:
    """Calls the tool, then says its result; every other seed forgets to call."""
    if "<tool_response>" in text:
        return text.split("<tool_response>\n")[-1].split("\n")[0]
    return ADD if seed % 2 else "I do not know."


def make(model: Any) -> Any:
    return create_agent(model, [add], system_prompt="Be brief.")


def agent_of(make: Callable[..., Any], **options: Any) -> FactoryAgent:
    chosen = {name: options.pop(name) for name in ("roles", "models") if name in options}
    return FactoryAgent(make, name="my_agent:make", options=GraphOptions(**options), **chosen)


async def collected(
    agent: Any,
    reply: Callable[[str, int], str | None] = adder,
    *,
    reward: str = "scorer",
    format_weight: float = 0.0,
    **settings: Any,
) -> list[Rollout]:
    engine = ScriptedEngine(reply, settings.pop("template", "qwen2_5"))
    store, done = settings.pop("store", None), settings.pop("done", ())

    def make_policy(run: str, seed: int) -> PolicyChat:
        return PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(), run=run, seed=seed)

    chosen = CollectorSettings(**{"group_size": 4, "backoff": 0.0, **settings})
    earns = make_reward(reward, format_weight=format_weight)
    return await Collector(agent, engine, make_policy, earns, chosen, store=store).collect(0, [TASK], done=done)


async def test_an_agent_as_it_is(tmp_path: Path) -> None:
    agent = agent_of(make)
    await agent.preflight()
    rollouts = await collected(agent, store=RolloutStore(tmp_path), group_size=8)
    assert {rollout.reward for rollout in rollouts} == {0.0, 1.0}
    assert sorted(read_rollouts(tmp_path), key=lambda rollout: rollout.index) == rollouts
    for rollout in rollouts:
        right = rollout.reward == 1.0
        assert rollout.ended_by == "agent"
        assert len(rollout.turns) == len(rollout.memory) == (2 if right else 1)
        assert {turn.role for turn in rollout.turns} == {turn["role"] for turn in rollout.memory} == {"model"}
        assert parts_of(rollout) == {"valid_format": True, "right_tool": right, "right_input": right, "solved": right}
        assert rollout.usage["model"]["calls"] == len(rollout.turns)
        assert [step.get("role") or step.get("tool") for step in rollout.trace["steps"]] == (
            ["model", "add", "model"] if right else ["model"]
        )
    figures = step_metrics(rollouts, version=0)
    assert figures["rewritten"] == figures["unreadable_calls"] == 0.0
    assert 0 < figures["tool/add"] <= 0.5
    assert figures["failed_turns"] == 0.0
    assert "rejected_turns" not in figures


async def test_a_graph_that_nobody_has_looked_at_is_looked_at_once() -> None:
    made: list[int] = []

    def counted(model: Any) -> Any:
        made.append(1)
        return make(model)

    await collected(agent_of(counted), group_size=8)
    assert len(made) == 8 + 1


class Question(TypedDict):
    question: str


class Report(TypedDict, total=False):
    question: str
    report: dict[str, Any]
    memory: list[str]


def reporter(model: Any) -> Any:
    async def write(state: Report) -> Report:
        reply = await model.ainvoke([HumanMessage(state["question"])])
        return {"report": {"lines": [{"text": "3" if reply.text else ""}]}, "memory": ["mine"]}

    graph = StateGraph(Report, input_schema=Question)
    graph.add_node("write", write)
    graph.add_edge(START, "write")
    return graph


def saw_everything(task: Task, state: Mapping[str, Any]) -> float:
    return float(state["memory"] == ["mine"] and state["report"]["lines"][0]["text"] == state["answer"] == "3")


async def test_a_graph_with_fields_of_its_own() -> None:
    agent = agent_of(reporter, answer="report.lines.-1.text")
    await agent.preflight()
    [rollout] = await collected(agent, reward=f"{__name__}:saw_everything", group_size=1)
    assert (rollout.answer, rollout.reward) == ("3", 1.0)
    assert len(rollout.memory) == 1
    [rollout] = await collected(agent, reward=f"{__name__}:saw_everything", format_weight=0.5, group_size=1)
    assert (rollout.failure, rollout.rewards) == (None, {"outcome": 1.0, "format": 0.5})


def test_paths_of_answers() -> None:
    class Typed(BaseModel):
        text: str

    state = {"a": [{"b": Typed(text="x")}], "n": 0}
    assert value_at(state, "a.0.b.text") == value_at(state, "a.-1.b.text") == "x"
    assert value_at(state, "n") == 0
    for path in ("a.5.b", "a.b", "c", "a.0.b.c", "n.x"):
        assert value_at(state, path) is None


class Other(TypedDict):
    topic: str


def no_question(model: Any) -> Any:
    graph = StateGraph(Other)
    graph.add_node("a", lambda state: state)
    graph.add_edge(START, "a")
    return graph.compile()


def test_what_cannot_be_run_is_refused_in_a_sentence() -> None:
    def two(planner: Any, solver: Any) -> Any:
        return make(planner)

    for arguments, words in [
        ((lambda: None,), "parameters are its roles"),
        ((two,), "planner, solver; say in `role`"),
        ((two, {"roles": ["boss"]}), "no role 'boss'.*planner, solver"),
        ((two, {"roles": ["planner"]}), "role solver.*agent_model"),
    ]:
        function, options = (*arguments, {})[:2]
        with pytest.raises(ConfigError, match=words):
            agent_of(function, **options)  # type: ignore[arg-type]
    for function, words in [
        (lambda model: "agent", "makes a str"),
        (lambda model: 1 / 0, r"could not be made: ZeroDivisionError \(test_factory.py, line"),
        (lambda model: model.invoke("Hi"), "asks its model while it is made"),
        (lambda model: model.ainvoke("Hi"), "asks its model while it is made"),
        (no_question, "agent_input.*topic"),
    ]:
        with pytest.raises(ConfigError, match=words):
            asyncio.run(agent_of(function).preflight())
    with pytest.raises(ConfigError, match=r"agent_answer.*topic"):
        asyncio.run(agent_of(no_question, input_field="topic").preflight())
    with pytest.raises(ConfigError, match="no field 'subject'"):
        asyncio.run(agent_of(no_question, input_field="subject", answer="topic").preflight())
    asyncio.run(agent_of(no_question, input_field="topic", answer="topic").preflight())


async def test_an_async_function_and_a_default_are_fine() -> None:
    async def made(model: Any, prompt: str = "Be brief.") -> Any:
        return create_agent(model, [add], system_prompt=prompt)

    agent = agent_of(made)
    await agent.preflight()
    assert agent.roles == ("model",)
    assert any(rollout.reward for rollout in await collected(agent))


def plan_and_solve(planner: Any, solver: Any) -> Any:
    async def plan(state: MessagesState) -> Any:
        return {"messages": [await planner.ainvoke(state["messages"])]}

    async def solve(state: MessagesState) -> Any:
        return {"messages": [await solver.ainvoke([HumanMessage(f"Do it: {state['messages'][-1].text}")])]}

    graph = StateGraph(MessagesState)
    graph.add_node("plan", plan)
    graph.add_node("solve", solve)
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "solve")
    return graph.compile()


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    with FakeModelServer(lambda request: "3") as server:
        yield server


async def test_roles_that_are_not_trained_get_a_frozen_model(server: FakeModelServer) -> None:
    agent = agent_of(plan_and_solve, roles=["planner"], models={"solver": make_model(server.spec)})
    await agent.preflight()
    rollouts = await collected(agent, lambda text, seed: f"Add {seed}.")
    assert {rollout.reward for rollout in rollouts} == {1.0}
    assert all([turn.role for turn in rollout.turns] == ["planner"] for rollout in rollouts)
    assert all(rollout.usage["solver"]["calls"] == 1 for rollout in rollouts)
    assert len(server.requests) == 4


async def test_several_roles_may_be_trained() -> None:
    agent = agent_of(plan_and_solve, roles=["planner", "solver"])
    [rollout] = await collected(agent, lambda text, seed: "3" if "Do it" in text else "Add.", group_size=1)
    assert [turn.role for turn in rollout.turns] == ["planner", "solver"]
    assert rollout.reward == 1.0


def asks_a_human(model: Any) -> Any:
    def ask(state: MessagesState) -> Any:
        return {"messages": [AIMessage(str(interrupt({"q": "How much?"})))]}

    async def think(state: MessagesState) -> Any:
        await model.ainvoke(state["messages"])

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    for name in ("one", "two"):
        graph.add_node(name, ask)
        graph.add_edge("think", name)
    graph.add_edge(START, "think")
    return graph.compile(interrupt_before=["think"])


async def test_interrupts_are_refused_or_answered() -> None:
    with pytest.raises(ConfigError, match="agent_resume"):
        await collected(agent_of(asks_a_human))

    async def answer(value: Any) -> str:
        return "3" if value == {"q": "How much?"} else ""

    agent = agent_of(asks_a_human, resume=answer)
    [rollout] = await collected(agent, group_size=1)
    assert (rollout.reward, len(rollout.turns)) == (1.0, 1)


def failing(error: Callable[[], Exception], *, in_tool: bool = True) -> Callable[..., Any]:
    def made(model: Any) -> Any:
        def add(a: int, b: int) -> int:
            """Add two numbers."""
            raise error()

        async def node(state: MessagesState) -> Any:
            await model.ainvoke(state["messages"])
            raise error()

        if in_tool:
            return create_agent(model, [add])
        graph = StateGraph(MessagesState)
        graph.add_node("node", node)
        graph.add_edge(START, "node")
        return graph.compile()

    return made


async def test_what_a_run_does_wrong_earns_what_its_state_earns() -> None:
    endless = agent_of(make, config={"recursion_limit": 9})
    [rollout] = await collected(endless, lambda text, seed: ADD, group_size=1)
    assert (rollout.ended_by, rollout.reward, len(rollout.turns)) == ("recursion", 0.0, 5)
    for in_tool in (True, False):
        agent = agent_of(failing(lambda: ValueError("No."), in_tool=in_tool))
        [rollout] = await collected(agent, lambda text, seed: ADD, group_size=1)
        assert (rollout.ended_by, rollout.reward, len(rollout.turns)) == ("error: ValueError", 0.0, 1)

    class Sum(BaseModel):
        total: int

    formless = agent_of(lambda model: create_agent(model, [], response_format=ProviderStrategy(Sum)))
    [rollout] = await collected(formless, lambda text, seed: "Three.", group_size=1)
    assert (rollout.ended_by, rollout.reward) == ("error: StructuredOutputValidationError", 0.0)
    [rollout] = await collected(agent_of(make), lambda text, seed: ADD, group_size=1)
    assert (rollout.ended_by, rollout.reward) == ("context", 0.0)
    assert len(rollout.turns) > 20


async def test_what_fails_around_a_run_is_no_reward() -> None:
    outages: list[Callable[[], Exception]] = [
        lambda: httpx.ConnectError("refused"),
        lambda: ConnectionResetError("reset"),
        lambda: ToolUnavailable("The search is down."),
    ]
    for outage in outages:
        for in_tool in (True, False):
            [rollout] = await collected(
                agent_of(failing(outage, in_tool=in_tool)), lambda text, seed: ADD, group_size=1, attempts=2
            )
            assert rollout.failure is not None
            assert (rollout.failure["kind"], rollout.attempts) == ("unavailable", 2)
    [rollout] = await collected(agent_of(make), lambda text, seed: None, group_size=1, attempts=1)
    assert rollout.failure is not None
    with pytest.raises(ConfigError, match=r"NameError \(test_factory.py, line \d+\): name 'undefined'"):
        await collected(agent_of(failing(lambda: undefined, in_tool=False)))  # type: ignore[name-defined]  # noqa: F821


async def test_a_run_has_its_time_and_waiting_for_the_policy_does_not_count() -> None:
    def slow(model: Any) -> Any:
        async def node(state: MessagesState) -> Any:
            reply = await model.ainvoke(state["messages"])
            await asyncio.sleep(30)
            return {"messages": [reply]}

        graph = StateGraph(MessagesState)
        graph.add_node("node", node)
        graph.add_edge(START, "node")
        return graph.compile()

    [rollout] = await collected(agent_of(slow, max_seconds=0.05), group_size=1)
    assert (rollout.ended_by, rollout.reward, len(rollout.turns)) == ("time", 0.0, 1)


class Count(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], operator.add]
    seen: int


async def test_runs_share_nothing_and_get_their_configuration() -> None:
    threads: list[str] = []

    def made(model: Any) -> Any:
        async def node(state: Count, config: RunnableConfig) -> Any:
            await model.ainvoke("Hi")
            threads.append(config["configurable"]["thread_id"])
            answer = str(len(state["messages"]) + config["configurable"]["plus"])
            return Command(update={"messages": [AIMessage(answer)]}, goto=END)

        graph = StateGraph(Count)
        graph.add_node("node", node)
        graph.add_edge(START, "node")
        return graph.compile(checkpointer=InMemorySaver())

    rollouts = await collected(agent_of(made, config={"configurable": {"plus": 2}}))
    assert [rollout.answer for rollout in rollouts] == ["3"] * 4
    assert len(set(threads)) == 4
