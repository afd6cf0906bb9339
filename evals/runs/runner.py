"""Asks all questions of a run concurrently: one process, one event loop.

An `Answerer` takes a task and a seed and returns a finished state: the agent, the bare model, or another graph. The
runner guarantees what must hold for all of them: every question and sample is answered exactly once, failures of the
environment are retried and then recorded (they stay in the denominator), and each result is on disk before it counts.
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
from evals.runs.failures import TRANSIENT, classify, unavailable_tool
from evals.runs.judge import Judge
from evals.runs.leakage import current_task, leaks_in
from evals.scorers import score
from evals.task import Task
from graph.errors import ModelError
from graph.state import Failure

logger = logging.getLogger(__name__)

Answerer = Callable[[Task, int], Awaitable[Mapping[str, Any]]]
"""From a task and a seed to a finished state: `answer`, and if available `memory`, `usage` and `ended_by`."""


@dataclass(frozen=True)
class Plan:
    """How a run is carried out; none of this changes the questions."""

    samples: int = 1
    seed: int = 0
    concurrency: int = 16
    attempts: int = 3
    """Maximum attempts per question while the environment fails."""
    backoff: float = 2.0
    """Seconds before the second attempt, doubled before each further one."""
    pages: tuple[str, ...] = ()
    """Addresses of the benchmark's own pages; see `evals.runs.leakage`."""


@dataclass(frozen=True)
class _Attempt:
    state: Mapping[str, Any]
    failure: Failure | None
    seconds: float


def seed_of(seed: int, task: Task, sample: int) -> int:
    """The seed of one question and sample, in [0, 2^31); independent of other questions and their order."""
    digest = hashlib.sha256(f"{seed}\n{task.benchmark}\n{task.id}\n{sample}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def keys_of(tasks: Sequence[Task], samples: int) -> Iterator[Key]:
    """All questions and samples in canonical order: by question, then by sample."""
    return ((task.id, sample) for task in tasks for sample in range(samples))


async def run(
    tasks: Sequence[Task],
    answerer: Answerer,
    file: ResultFile,
    plan: Plan,
    *,
    judge: Judge | None = None,
    on_result: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Answer all questions that are not in the file yet, and sort the file.

    Args:
        tasks: All questions of the run, including those already answered.
        answerer: Answers them.
        file: The run's open folder.
        plan: Samples, seeds, concurrency and attempts.
        judge: Gives a second opinion on every answer.
        on_result: Called on the event loop after each result that is on disk.

    Returns:
        All results in canonical order.

    Raises:
        ModelRejected: the first question, or the first question to the judge, was refused, so all of them would be.
        ConfigError, DataError, SandboxError, OSError: something that all questions need is missing.
    """
    runner = _Runner(answerer, file, plan, judge, on_result)
    # Drawn as they are asked: there may be more than memory holds.
    pending = ((task, n) for task in tasks for n in range(plan.samples) if not file.has((task.id, n)))
    left = len(tasks) * plan.samples - len(file.results)
    workers = [asyncio.create_task(runner.work(pending)) for _ in range(min(plan.concurrency, left))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    file.finish(keys_of(tasks, plan.samples))
    return file.results


class _Runner:
    """State shared by the workers of one run."""

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
        self.any_opinion = any(result.judge and result.judge["correct"] is not None for result in file.results)

    async def work(self, pending: Iterator[tuple[Task, int]]) -> None:
        """Take questions from the shared iterator until none are left."""
        for task, sample in pending:
            result = await self.answer(task, sample)
            await asyncio.to_thread(self.file.append, result)
            if self.on_result is not None:
                self.on_result(result)

    async def answer(self, task: Task, sample: int) -> Result:
        """Answer one question and sample, with retries."""
        seed = seed_of(self.plan.seed, task, sample)
        attempt = await self.attempt(task, seed)
        attempts = 1
        while attempts < self.plan.attempts and attempt.failure and attempt.failure["kind"] == TRANSIENT:
            await asyncio.sleep(self.plan.backoff * 2 ** (attempts - 1))
            attempt = await self.attempt(task, seed)
            attempts += 1
        return await self.judged(task, sample, seed, attempt, attempts)

    async def attempt(self, task: Task, seed: int) -> _Attempt:
        """One attempt; errors are recorded unless they would affect every question."""
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

    async def judged(self, task: Task, sample: int, seed: int, attempt: _Attempt, attempts: int) -> Result:
        """Score an attempt and turn it into a result."""
        state = attempt.state
        prediction = str(state.get("answer") or "")
        verdict = await asyncio.to_thread(score, task, prediction)
        # Despite a dead service a correct answer counts; a wrong one says nothing about the agent.
        failure = None if verdict.correct else attempt.failure
        memory = [dict(turn) for turn in state.get("memory") or ()]
        opinion = None
        if self.judge is not None and failure is None:
            opinion = await self.opinion(task, prediction)
        return Result(
            task=task.id,
            sample=sample,
            benchmark=task.benchmark,
            family=str(task.metadata.get("family") or ""),
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
            attempts=attempts,
            failure=failure,
            leaks=leaks_in(task, memory, self.plan.pages),
            judge=opinion,
            trace=dict(state.get("trace") or {}),
        )

    async def opinion(self, task: Task, prediction: str) -> dict[str, Any]:
        """The judge's opinion; if the judge does not answer, the result stands without one.

        As with answers, the first opinion that is refused is assumed to be refused for all, a prompt too long aside.
        """
        assert self.judge is not None
        try:
            opinion = (await self.judge.opinion(task, prediction)).as_dict()
        except ModelError as error:
            failure = classify(error, any_success=self.any_opinion)
            if failure is None:
                raise
            return {"correct": None, "reason": failure["message"]}
        self.any_opinion = True
        return opinion
