"""Ask all questions of a run: one process, one event loop, as many at once as allowed.

What is asked is anything that takes a task and a seed and returns a finished state (`Answerer`): the agent, the bare
model, or somebody else's graph. The runner owns what has to be right whoever answers: every question and sample is
answered exactly once, failures of the surroundings are tried again and then recorded in the denominator, and each
result is on disk before it is counted.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.results import Key, Result, ResultFile
from evals.runs.failures import PASSING, classify, unavailable_tool
from evals.runs.judge import Judge
from evals.runs.leakage import current_task, leaks_in
from evals.scorers import score
from evals.task import Task
from graph.errors import ModelUnavailable
from graph.state import Failure

logger = logging.getLogger(__name__)

Answerer = Callable[[Task, int], Awaitable[Mapping[str, Any]]]
"""From a task and a seed to a finished state with `answer`, and where there are any `memory`, `usage`, `ended_by`."""


@dataclass(frozen=True)
class Plan:
    """How a run is carried out; nothing here changes what is asked."""

    samples: int = 1
    seed: int = 0
    concurrency: int = 16
    attempts: int = 3
    """Tries of one question while the surroundings fail."""
    backoff: float = 2.0
    """Seconds before the second try, doubled before each further one."""
    pages: tuple[str, ...] = ()
    """Addresses of the benchmark's own pages, see `evals.runs.leakage`."""


@dataclass(frozen=True)
class _Attempt:
    state: Mapping[str, Any]
    failure: Failure | None
    seconds: float


def seed_of(seed: int, task: Task, sample: int) -> int:
    """The seed of one question and sample, in [0, 2^31): the same whatever else is asked and in whatever order."""
    digest = hashlib.sha256(f"{seed}\n{task.benchmark}\n{task.id}\n{sample}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def keys_of(tasks: Sequence[Task], samples: int) -> list[Key]:
    """Every question and sample in canonical order: by question, then by sample."""
    return [(task.id, sample) for task in tasks for sample in range(samples)]


async def run(
    tasks: Sequence[Task],
    answerer: Answerer,
    file: ResultFile,
    plan: Plan,
    *,
    judge: Judge | None = None,
    on_result: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Answer what the file does not hold yet, and put the file in order.

    Args:
        tasks: all questions of the run, answered ones included.
        answerer: who answers.
        file: the run's open folder.
        plan: samples, seeds, concurrency and tries.
        judge: a second opinion on every answer.
        on_result: called on the event loop after each result that is on disk.

    Returns:
        All results in canonical order.

    Raises:
        ModelRejected: the very first question was refused, so all would be.
        ConfigError, DataError, SandboxError, OSError: what the questions need cannot be had.
    """
    runner = _Runner(answerer, file, plan, judge, on_result)
    pending = iter([(task, n) for task in tasks for n in range(plan.samples) if not file.has((task.id, n))])
    workers = [asyncio.create_task(runner.work(pending)) for _ in range(plan.concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    order = keys_of(tasks, plan.samples)
    file.finish(order)
    by_key = {result.key: result for result in file.results}
    return [by_key[key] for key in order]


class _Runner:
    """The state that the workers of one run share."""

    def __init__(
        self,
        answerer: Answerer,
        file: ResultFile,
        plan: Plan,
        judge: Judge | None,
        on_result: Callable[[Result], None] | None,
    ) -> None:
        self.answerer = answerer
        self.file = file
        self.plan = plan
        self.judge = judge
        self.on_result = on_result
        self.any_answer = any(not result.failure for result in file.results)

    async def work(self, pending: Iterator[tuple[Task, int]]) -> None:
        """Take questions from the common iterator until there are none left."""
        for task, sample in pending:
            result = await self.answer(task, sample)
            await asyncio.to_thread(self.file.append, result)
            if self.on_result is not None:
                self.on_result(result)

    async def answer(self, task: Task, sample: int) -> Result:
        """One question and sample, with as many tries as it takes."""
        seed = seed_of(self.plan.seed, task, sample)
        attempt = await self.attempt(task, seed)
        tries = 1
        while tries < self.plan.attempts and attempt.failure and attempt.failure["kind"] == PASSING:
            await asyncio.sleep(self.plan.backoff * 2 ** (tries - 1))
            attempt = await self.attempt(task, seed)
            tries += 1
        return await self.judged(task, sample, seed, attempt, tries)

    async def attempt(self, task: Task, seed: int) -> _Attempt:
        """One try. What goes wrong here is recorded, except what would go wrong for every question."""
        current_task.set(task)
        began = time.perf_counter()
        try:
            state = await self.answerer(task, seed)
        except Exception as error:
            failure = classify(error, any_success=self.any_answer)
            if failure is None:
                raise
            if failure["kind"] == "defect":
                logger.warning("Question %s failed with %s.", task.id, type(error).__name__, exc_info=True)
            return _Attempt({}, failure, time.perf_counter() - began)
        self.any_answer = True
        return _Attempt(state, unavailable_tool(state), time.perf_counter() - began)

    async def judged(self, task: Task, sample: int, seed: int, attempt: _Attempt, tries: int) -> Result:
        """Score an attempt and make it a result."""
        state = attempt.state
        prediction = str(state.get("answer") or "")
        verdict = await asyncio.to_thread(score, task, prediction)
        # A right answer found in spite of a dead service is an answer; a wrong one says nothing about the agent.
        failure = None if verdict.correct else attempt.failure
        memory = [dict(turn) for turn in state.get("memory") or ()]
        opinion = None
        if self.judge is not None and failure is None:
            opinion = await self.opinion(task, prediction)
        return Result(
            task=task.id,
            sample=sample,
            benchmark=task.benchmark,
            question=task.prompt,
            choices=list(task.choices) if task.choices else None,
            gold=list(task.answers),
            prediction=prediction,
            correct=verdict.correct,
            exact=verdict.exact,
            value=verdict.value,
            reason=failure["message"] if failure else verdict.reason,
            turns=memory,
            usage={role: dict(cost) for role, cost in (state.get("usage") or {}).items()},
            ended_by=str(state.get("ended_by") or ""),
            seed=seed,
            seconds=round(attempt.seconds, 4),
            attempts=tries,
            failure=failure,
            leaks=leaks_in(task, memory, self.plan.pages),
            judge=opinion,
            trace=dict(state.get("trace") or {}),
        )

    async def opinion(self, task: Task, prediction: str) -> dict[str, Any]:
        """The judge's opinion; a judge that does not answer costs the opinion, not the result."""
        assert self.judge is not None
        try:
            return (await self.judge.opinion(task, prediction)).as_dict()
        except ModelUnavailable as error:
            return {"correct": None, "reason": str(error)}
