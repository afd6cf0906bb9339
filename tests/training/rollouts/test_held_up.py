"""A step's runs are not held up by each other: no queue for threads, for the disk, or for what others still do."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import StructuredTool
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from typing_extensions import TypedDict

from evals.loop_thread import LoopThread
from evals.scorers.formulas.process import Comparison, FormulaWorker, FormulaWorkers
from evals.task import Task
from tests.training.rollouts.test_background import Patience
from tests.training.rollouts.test_collector import DIRECT, collector, direct_plan, task
from tests.training.support.scripted_engine import ScriptedEngine
from training.rollouts.agents import Agent, GraphAgent
from training.rollouts.factory import FactoryAgent
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import Rollout
from training.rollouts.store import RolloutStore, read_rollouts

RUNS = 64
TOGETHER = 30.0
"""Seconds in which all runs of a step have to meet; they need hundredths."""


def meeting() -> StructuredTool:
    """A plain function that returns when all runs of the step are in it."""
    barrier = threading.Barrier(RUNS)

    def double(number: str) -> str:
        """Double a number."""
        barrier.wait(TOGETHER)
        return str(2 * int(number))

    return StructuredTool.from_function(double, name="double", metadata={"time_limit": TOGETHER})


def ours() -> Agent:
    return GraphAgent(DIRECT, tools=[meeting()])


class Answer(TypedDict):
    question: str
    answer: str


def nodes_that_are_plain_functions() -> Agent:
    """They hold a thread while the model writes."""
    barrier = threading.Barrier(RUNS)

    def make(model: BaseChatModel) -> Pregel:  # type: ignore[type-arg]
        def answer(state: Answer) -> Answer:
            barrier.wait(TOGETHER)
            return {**state, "answer": str(model.invoke(state["question"]).text)}

        graph = StateGraph(Answer)
        graph.add_node("answer", answer)
        graph.set_entry_point("answer")
        return graph.compile()

    return FactoryAgent(make, name="plain")


@pytest.mark.parametrize("agent", [ours, nodes_that_are_plain_functions])
def test_plain_functions_of_all_runs_go_on_at_once(agent: type[Agent]) -> None:
    engine = ScriptedEngine(direct_plan)
    loop = LoopThread()
    tasks = [task(number) for number in range(RUNS // 4)]
    made = loop.run(collector(engine, agent()).collect(0, tasks))
    loop.close()
    assert len(made) == RUNS
    assert not [rollout for rollout in made if rollout.failure]
    assert not [call for rollout in made for turn in rollout.memory for call in turn["calls"] if call["error"]]


async def test_a_slow_disk_takes_all_rollouts_that_wait_for_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs, others_wait = [], threading.Event()

    def slow_sync(descriptor: int) -> None:
        syncs.append(descriptor)
        others_wait.wait(TOGETHER)

    monkeypatch.setattr(os, "fsync", slow_sync)
    store = RolloutStore(tmp_path)
    rollouts = [Rollout(f"{n % 2}/t/{n}", task(1), n % 2, n, 0, reward=1.0) for n in range(RUNS)]
    writing = [asyncio.create_task(store.store(rollout)) for rollout in rollouts]
    while not syncs:
        await asyncio.sleep(0.001)
    assert not any(each.done() for each in writing)  # none before it is on the disk
    others_wait.set()
    await asyncio.gather(*writing)
    assert len(syncs) <= 4  # the first that came, and the rest, of two steps
    assert sorted(rollout.id for rollout in read_rollouts(tmp_path)) == sorted(rollout.id for rollout in rollouts)


async def test_a_full_disk_is_told_to_everyone_who_waits(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = RolloutStore(tmp_path / "file")
    rollouts = [Rollout(f"0/t/{n}", task(1), 0, n, 0, reward=1.0) for n in range(3)]
    ended = await asyncio.gather(*(store.store(rollout) for rollout in rollouts), return_exceptions=True)
    assert [isinstance(each, OSError) for each in ended] == [True] * 3


def test_a_formula_that_takes_long_holds_no_other_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def ask(worker: FormulaWorker, gold: str, prediction: str) -> Comparison:
        return Comparison(over.wait(TOGETHER) if gold == "long" else True, "")

    monkeypatch.setattr(FormulaWorker, "ask", ask)
    workers = FormulaWorkers(most=2)
    long = threading.Thread(target=workers.ask, args=("long", "x"))
    long.start()
    assert all(workers.ask("short", "x").equal for _ in range(3))
    assert long.is_alive()
    over.set()
    long.join()
    workers.close()


_made: list[str] = []


def made_by_name() -> StructuredTool:
    """A tool that is named by its import path."""
    _made.append("double")

    def double(number: str) -> str:
        """Double a number."""
        return str(2 * int(number))

    return StructuredTool.from_function(double, name="double")


async def test_all_runs_share_one_graph_and_its_tools() -> None:
    agent = GraphAgent(DIRECT, tools=[f"{__name__}:made_by_name"])
    made = await collector(ScriptedEngine(direct_plan), agent).collect(0, [task(1), task(2)])
    assert len(_made) == 1
    assert all(rollout.turns[0].run == rollout.id for rollout in made)  # each with its own policy all the same
    assert {rollout.reward for rollout in made} <= {0.0, 1.0}


# A step as a whole, on a clock that computing does not move


class Uneven:
    """Runs of one to four turns, each a model call and a tool call; one of 16 meets a tool that hangs."""

    LIMIT = 20.0

    def __init__(self) -> None:
        self.own: dict[str, float] = {}
        """Seconds of models and tools of each run."""

    async def prepare(self, task: Task, seed: int) -> Mapping[str, Any]:
        await asyncio.sleep(0.5)
        return {}

    async def run(self, task: Task, start: Mapping[str, Any], policy: PolicyChat, seed: int) -> Mapping[str, Any]:
        chance = random.Random(seed)
        self.own[policy.run] = 0.5
        for _ in range(chance.randint(1, 4)):
            model, tool = chance.uniform(0.2, 1.5), chance.choice([0.1, 0.3, 1.0])
            await asyncio.sleep(model)
            await asyncio.sleep(tool)
            self.own[policy.run] += model + tool
        if chance.random() < 1 / 16:
            await asyncio.sleep(self.LIMIT)
            self.own[policy.run] += self.LIMIT
        return {"answer": "x" if task.id.startswith("hard") else str(seed % 2)}

    def turns(self, state: Mapping[str, Any], policy: PolicyChat) -> Sequence[Any]:
        return ()


async def parity(task: Task, state: Mapping[str, Any]) -> float:
    return float(state["answer"] == "1")


def step_of(tasks: list[Task], spares: list[list[Task]]) -> tuple[float, list[Rollout], Uneven]:
    """Seconds of a step, its rollouts, and its agent."""
    agent = Uneven()

    async def step() -> tuple[float, list[Rollout]]:
        source = collector(ScriptedEngine(direct_plan), agent, reward=f"{__name__}:parity", group_size=8)  # type: ignore[arg-type]
        rollouts = await source.collect(0, tasks, spares=spares)
        return asyncio.get_running_loop().time(), rollouts

    with asyncio.Runner(loop_factory=Patience) as runner:
        return *runner.run(step()), agent  # type: ignore[return-value]


def named(name: str, count: int) -> list[Task]:
    return [Task(id=f"{name}{number}", question=f"{name} {number}", answers=("1",)) for number in range(count)]


def test_a_step_takes_as_long_as_its_slowest_run() -> None:
    seconds, rollouts, agent = step_of(named("easy", 8), [])
    assert len(rollouts) == 64
    assert max(agent.own.values()) > Uneven.LIMIT  # one has met the tool that hangs
    assert seconds == pytest.approx(max(agent.own.values()))


def test_a_group_without_variance_is_replaced_when_it_has_ended_and_not_when_all_have() -> None:
    tasks = [*named("hard", 4), *named("easy", 4)]
    spares = [[*named("hard-again", 2), *named("second", 6)], named("third", 8)]
    seconds, rollouts, agent = step_of(tasks, spares)
    by_task = {rollout.task.id for rollout in rollouts}
    # The first two places fail twice; each of the others has as many rounds as it needs, and waits for nobody.
    assert by_task == {task.id for task in tasks} | {
        "hard-again0",
        "hard-again1",
        "second0",
        "second1",
        "third0",
        "third1",
    }
    assert [rollout.task.id for rollout in rollouts[::8]][:8] == [task.id for task in tasks]

    def slowest(name: str) -> float:
        return max(own for run, own in agent.own.items() if run.startswith(f"0/{name}/"))

    chains = [["hard0", "hard-again0", "third0"], ["hard1", "hard-again1", "third1"], ["hard2", "second0"]]
    chains += [["hard3", "second1"], *([task.id] for task in tasks[4:])]
    assert seconds == pytest.approx(max(sum(slowest(name) for name in chain) for chain in chains))
