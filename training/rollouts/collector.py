"""Rolls out: many runs of many tasks at once, each ending in a rollout with a reward or with a typed failure.

What fails around the agent (a dead server, a cut connection, a search service that is down) is tried again and then
recorded as a failure, which is no reward. What the agent does wrong is its own and earns what it earns. What would fail
for every run alike (a wrong key, a sandbox that cannot be had) ends the step.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from evals.runs.failures import PASSING, classify, unavailable_tool
from evals.task import Task
from training.engines.base import Engine
from training.rollouts.agents import Agent
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import Rollout, rollout_id, seed_from
from training.rollouts.rewards import RewardFunction
from training.rollouts.store import RolloutStore
from training.rollouts.tail import Late, Tail
from training.run.secrecy import without_credentials

logger = logging.getLogger(__name__)

MakePolicy = Callable[[str, int], PolicyChat]
"""From a rollout's id and seed to the policy in that run."""


@dataclass(frozen=True)
class CollectorSettings:
    """How rollouts are collected."""

    group_size: int = 8
    """G: runs of each task."""
    concurrency: int | None = None
    """Runs at once; None: all of a step."""
    attempts: int = 3
    """Tries of a run while the surroundings fail."""
    backoff: float = 2.0
    """Seconds before the second try, doubled before each further one."""
    tail_fraction: float | None = None
    """Share of a step's rollouts after whose end the others are hurried (`training.rollouts.tail`); None: never."""
    tail_seconds: float = 60.0
    """Seconds that they then have."""


@dataclass
class _Unfinished(Exception):
    """A try that ended with a failure of the surroundings."""

    kind: str
    message: str


class Collector:
    """Collects the rollouts of one step after another.

    Args:
        agent: what is run.
        engine: what samples for it.
        make_policy: the policy of each run.
        reward: what a run earns.
        settings: group size and tries.
        seed: of the training run.
        store: where rollouts go as they end; None keeps none.
    """

    def __init__(
        self,
        agent: Agent,
        engine: Engine,
        make_policy: MakePolicy,
        reward: RewardFunction,
        settings: CollectorSettings,
        *,
        seed: int = 0,
        store: RolloutStore | None = None,
    ) -> None:
        self.agent = agent
        self.engine = engine
        self.make_policy = make_policy
        self.reward = reward
        self.settings = settings
        self.seed = seed
        self.store = store
        self._any_success = False

    @property
    def group_size(self) -> int:
        """G: runs of each task."""
        return self.settings.group_size

    async def collect(
        self, step: int, tasks: Sequence[Task], *, on_rollout: Callable[[Rollout], None] | None = None
    ) -> list[Rollout]:
        """G runs of each task, all at once.

        Args:
            step: which step they belong to.
            tasks: its tasks, without repetition.
            on_rollout: called on the event loop after each rollout that has ended and is stored.

        Returns:
            All rollouts in order of tasks and places in their groups, failed ones included.

        Raises:
            AgentFlowError: something that every run would meet.
            OSError: a rollout could not be stored.
        """
        total = len(tasks) * self.settings.group_size
        limit = asyncio.Semaphore(self.settings.concurrency or total or 1)
        tail = Tail(total, self.settings.tail_fraction, self.settings.tail_seconds)
        try:
            async with asyncio.TaskGroup() as group:
                made = [group.create_task(self._group(step, task, limit, tail, on_rollout)) for task in tasks]
        except BaseExceptionGroup as error:
            raise _first(error) from error
        return [rollout for each in made for rollout in each.result()]

    async def _group(
        self,
        step: int,
        task: Task,
        limit: asyncio.Semaphore,
        tail: Tail,
        on_rollout: Callable[[Rollout], None] | None,
    ) -> list[Rollout]:
        """The rollouts of one task, from one prepared start."""
        indices = range(self.settings.group_size)
        async with AsyncExitStack() as stack:
            # Runs are admitted before the first of them can ask, or a deterministic wave would start without the rest.
            admissions = [await stack.enter_async_context(AsyncExitStack()) for _ in indices]
            if self.settings.concurrency is None:
                for admission in admissions:
                    await admission.enter_async_context(self.engine.admit())
            start, failure, tries = await self._prepared(step, task)

            async def one(index: int) -> Rollout:
                async with admissions[index], limit:
                    rollout = (
                        await self._rollout(step, task, index, start, tail)
                        if start is not None
                        else self._made(step, task, index, failure=failure, attempts=tries)
                    )
                tail.ended()
                if self.store is not None:
                    await asyncio.to_thread(self.store.append, rollout)
                if on_rollout is not None:
                    on_rollout(rollout)
                return rollout

            async with asyncio.TaskGroup() as group:
                made = [group.create_task(one(index)) for index in indices]
        return [each.result() for each in made]

    async def _prepared(self, step: int, task: Task) -> tuple[Mapping[str, Any] | None, Mapping[str, str], int]:
        seed = seed_from(self.seed, "prepare", step, task.id)
        return await self._tried(lambda: self.agent.prepare(task, seed))

    async def _rollout(self, step: int, task: Task, index: int, start: Mapping[str, Any], tail: Tail) -> Rollout:
        began = time.perf_counter()
        try:
            async with tail.limit():
                values, failure, tries = await self._tried(lambda: self._attempt(step, task, index, start, tail))
        except Late:
            message = f"Cut off {2 * self.settings.tail_seconds:g} seconds after most rollouts of the step had ended."
            values, failure, tries = None, {"kind": "late", "message": message}, 1
        seconds = time.perf_counter() - began
        if values is None:
            return self._made(step, task, index, failure=failure, attempts=tries, seconds=seconds)
        self._any_success = True
        return self._made(step, task, index, **values, attempts=tries, seconds=seconds)

    async def _attempt(self, step: int, task: Task, index: int, start: Mapping[str, Any], tail: Tail) -> dict[str, Any]:
        """One run, scored.

        Raises:
            _Unfinished: a tool's service was down, and the run earned nothing.
            AgentFlowError: see `graph.errors`.
        """
        seed = self._seed(step, task, index)
        policy = self.make_policy(rollout_id(step, task, index), seed)
        policy.seconds_left = tail.seconds_left
        state = await self.agent.run(task, start, policy, seed)
        turns = tuple(self.agent.turns(state, policy))
        reward = await self.reward(task, state, turns)
        down = unavailable_tool(state)
        if down is not None and reward.terms.get("outcome", reward.total) <= 0:
            raise _Unfinished(down["kind"], down["message"])
        return {
            "turns": turns,
            "reward": reward.total,
            "rewards": dict(reward.terms),
            "answer": str(state.get("answer") or ""),
            "ended_by": str(state.get("ended_by") or ""),
            "hurried": tail.seconds_left() <= 0,
            "analysis": str(state.get("analysis") or ""),
            "memory": [dict(turn) for turn in state.get("memory") or ()],
            "usage": {role: dict(cost) for role, cost in (state.get("usage") or {}).items()},
            "trace": dict(state.get("trace") or {}),
        }

    async def _tried(
        self, attempt: Callable[[], Awaitable[Mapping[str, Any]]]
    ) -> tuple[Mapping[str, Any] | None, Mapping[str, str], int]:
        """What an attempt yields, or how the last of several failed, and how many there were."""
        for number in range(1, self.settings.attempts + 1):
            try:
                return await attempt(), {}, number
            except _Unfinished as error:
                failure = {"kind": error.kind, "message": error.message}
            except Exception as error:
                found = classify(error, any_success=self._any_success)
                if found is None:
                    raise
                if found["kind"] == "defect":  # in one run; it must not end a night's training
                    logger.warning("A run failed with %s.", type(error).__name__, exc_info=True)
                failure = {"kind": found["kind"], "message": without_credentials(found["message"])}
                if failure["kind"] != PASSING:
                    return None, failure, number
            if number < self.settings.attempts:
                await asyncio.sleep(self.settings.backoff * 2 ** (number - 1))
        return None, failure, self.settings.attempts

    def _seed(self, step: int, task: Task, index: int) -> int:
        return seed_from(self.seed, step, task.id, index)

    def _made(self, step: int, task: Task, index: int, **values: Any) -> Rollout:
        seed = self._seed(step, task, index)
        return Rollout(id=rollout_id(step, task, index), task=task, step=step, index=index, seed=seed, **values)


def _first(error: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first: the others were cancelled or met the same."""
    inner = error.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
