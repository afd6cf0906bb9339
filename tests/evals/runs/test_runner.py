"""The runner with answerers of its own: what is tried again, what is recorded, what ends the run."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from evals.results import Result, ResultFile
from evals.runs.answerers import agent
from evals.runs.runner import Answerer, Plan, run, seed_of
from evals.task import Task
from graph.context import Context
from graph.errors import ConfigError, ContextLengthExceeded, ModelRejected, ModelUnavailable, SandboxError

TASKS = [Task(id=str(n), question=f"Q{n}?", answers=(str(n),), benchmark="own") for n in range(6)]
QUICK = Plan(backoff=0.001)


async def results_of(folder: Path, answerer: Answerer, plan: Plan = QUICK) -> list[Result]:
    with ResultFile(folder, {"benchmark": "own"}) as file:
        return await run(TASKS, answerer, file, plan)


class Tries:
    """Counts the tries of each question and fails as told."""

    def __init__(self, failures: Mapping[str, list[Exception]]) -> None:
        self.count: Counter[str] = Counter()
        self.failures = {task: list(errors) for task, errors in failures.items()}

    async def __call__(self, task: Task, seed: int) -> Mapping[str, Any]:
        self.count[task.id] += 1
        if self.failures.get(task.id):
            raise self.failures[task.id].pop(0)
        return {"answer": task.answers[0]}


async def test_only_failures_that_may_pass_are_tried_again(tmp_path: Path) -> None:
    down = ModelUnavailable("down")
    tries = Tries({"1": [down], "2": [down] * 9, "3": [KeyError("plan")], "4": [ModelRejected("no")]})
    results = await results_of(tmp_path / "r", tries)
    assert [result.correct for result in results] == [True, True, False, False, False, True]
    assert tries.count == {"0": 1, "1": 2, "2": 3, "3": 1, "4": 1, "5": 1}
    kinds = [result.failure["kind"] if result.failure else None for result in results]
    assert kinds == [None, None, "unavailable", "defect", "model", None]
    assert [result.attempts for result in results] == [1, 2, 3, 1, 1, 1]


async def test_a_tool_service_that_is_down_is_tried_again_and_named(tmp_path: Path) -> None:
    calls: Counter[str] = Counter()

    async def answer(task: Task, seed: int) -> Mapping[str, Any]:
        calls[task.id] += 1
        error = {"kind": "unavailable", "message": "no route"} if task.id in "12" and calls[task.id] < 9 else None
        turn = {"plan": {"tool_name": "web_search"}, "calls": [{"result": "", "error": error}], "error": error}
        return {"answer": "1", "memory": [turn]}

    results = await results_of(tmp_path / "r", answer)
    assert calls["1"] == calls["2"] == 3
    assert results[1].correct and results[1].failure is None  # noqa: PT018 - right in spite of the service
    assert results[2].failure == {
        "kind": "unavailable",
        "message": "The service behind web_search did not answer: no route",
    }
    assert results[3].failure is None


@pytest.mark.parametrize("error", [ModelRejected("wrong key"), ConfigError("no corpus")])
async def test_what_every_question_would_meet_ends_the_run(tmp_path: Path, error: Exception) -> None:
    tries = Tries({task.id: [error] for task in TASKS})
    with pytest.raises(type(error)):
        await results_of(tmp_path / "r", tries, Plan(concurrency=1))
    assert tries.count == {"0": 1}
    assert not (tmp_path / "r" / "run.json").exists()


async def test_one_prompt_that_is_too_long_does_not_end_the_run(tmp_path: Path) -> None:
    results = await results_of(tmp_path / "r", Tries({"0": [ContextLengthExceeded("too long")]}), Plan(concurrency=1))
    assert [result.correct for result in results] == [False, *[True] * 5]


async def test_no_more_than_the_allowed_number_run_at_once(tmp_path: Path) -> None:
    now = most = 0

    async def answer(task: Task, seed: int) -> Mapping[str, Any]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return {"answer": ""}

    await results_of(tmp_path / "r", answer, Plan(concurrency=3, samples=2))
    assert most == 3


async def test_cancelling_keeps_what_is_answered(tmp_path: Path) -> None:
    async def answer(task: Task, seed: int) -> Mapping[str, Any]:
        await asyncio.sleep(0 if task.id in "01" else 60)
        return {"answer": task.answers[0]}

    running = asyncio.create_task(results_of(tmp_path / "r", answer))
    path = tmp_path / "r" / "results.jsonl"
    while not path.exists() or path.read_bytes().count(b"\n") < 2:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    tries = Tries({})
    results = await results_of(tmp_path / "r", tries)
    assert sorted(tries.count) == ["2", "3", "4", "5"]
    assert all(result.correct for result in results)


def test_seeds_depend_on_question_and_sample_only() -> None:
    seeds = {seed_of(0, task, sample) for task in TASKS for sample in range(4)}
    assert len(seeds) == 24
    assert seed_of(0, TASKS[0], 0) == seed_of(0, TASKS[0], 0) != seed_of(1, TASKS[0], 0)
    assert all(0 <= seed < 2**31 for seed in seeds)


class TinyState(TypedDict, total=False):
    question: str
    answer: str


async def test_any_graph_with_question_and_answer_can_be_measured(tmp_path: Path) -> None:
    def reply(state: TinyState) -> TinyState:
        return {"answer": state["question"].strip("Q?")}

    builder = StateGraph(TinyState, Context)
    builder.add_node("reply", reply)
    builder.add_edge(START, "reply")
    builder.add_edge("reply", END)
    results = await results_of(tmp_path / "r", agent(builder.compile(), Context()))
    assert all(result.correct for result in results)


async def test_the_questions_to_come_take_no_memory(tmp_path: Path) -> None:
    """`--samples 1000000000` would take all there is before the first answer."""
    asked: list[str] = []

    async def answer(task: Task, seed: int) -> Mapping[str, Any]:
        asked.append(task.id)
        if len(asked) == 3:
            raise SandboxError("enough")
        return {"answer": task.answers[0]}

    tracemalloc.start()
    try:
        with pytest.raises(SandboxError, match="enough"):
            await results_of(tmp_path / "r", answer, Plan(samples=100_000, concurrency=1))
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
