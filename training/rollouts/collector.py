"""Collects rollouts: many runs of many tasks at once, each with a reward or a typed failure at its end.

Infrastructure failures (a dead server, a cut connection, a search service that is down) are tried again, then recorded
as failures, which have no reward. The agent's own failures earn what they earn. What would fail in every run alike (a
wrong key, no sandbox) ends the step.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from evals.runs.failures import TRANSIENT, classify, unavailable_tool
from evals.task import Task
from graph.secrecy import without_credentials
from tools.spans import Span, note_span, recorded
from training.engines.base import Engine
from training.rollouts.agents import FINAL, Agent, State
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import Rollout, rollout_id, seed_from
from training.rollouts.rewards import RewardFunction
from training.rollouts.store import RolloutStore
from training.rollouts.tail import Late, Tail
from training.rollouts.time_spent import time_spent

logger = logging.getLogger(__name__)

T = TypeVar("T")

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
    """Attempts at a run that meets infrastructure failures."""
    backoff: float = 2.0
    """Seconds before the second try, doubled before each further one."""
    tail_fraction: float | None = None
    """Share of a step's rollouts after which the rest is hurried (`training.rollouts.tail`); None: never."""
    tail_seconds: float = 60.0
    """Seconds that the rest then has."""


@dataclass
class _Unfinished(Exception):
    """An attempt that ended with an infrastructure failure."""

    kind: str
    message: str


@dataclass(frozen=True)
class _Outcome(Generic[T]):
    """The outcome of all attempts: a value, or an infrastructure failure."""

    value: T | None
    attempts: int
    failure: Mapping[str, str] | None = None
    spans: Sequence[Span] = ()


@dataclass(frozen=True)
class _Run:
    """A run to be made."""

    step: int
    task: Task
    index: int
    seed: int

    @property
    def id(self) -> str:
        return rollout_id(self.step, self.task, self.index)

    def rollout(self, **values: Any) -> Rollout:
        """The run's record."""
        return Rollout(id=self.id, task=self.task, step=self.step, index=self.index, seed=self.seed, **values)


@dataclass(frozen=True)
class _Step:
    """State shared by the runs of a step."""

    limit: asyncio.Semaphore
    tail: Tail
    began: float
    on_rollout: Callable[[Rollout], None] | None


class Collector:
    """Collects the rollouts of one step after another.

    Args:
        agent: the agent.
        engine: samples the policy's replies.
        make_policy: the policy of each run.
        reward: the reward function.
        settings: group size and attempts.
        seed: seed of the training run.
        store: where finished rollouts are written; None keeps none.
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
        self,
        step: int,
        tasks: Sequence[Task],
        *,
        on_rollout: Callable[[Rollout], None] | None = None,
        tail: Tail | None = None,
    ) -> list[Rollout]:
        """G runs of each task, all at once.

        Args:
            step: which step they belong to.
            tasks: its tasks, without repetition.
            on_rollout: called on the event loop after each rollout that has ended and is stored.

        Returns:
            All rollouts in order of tasks and places in their groups, failed ones included.

        Raises:
            AgentFlowError: a failure that every run would meet.
            OSError: a rollout could not be stored.
        """
        total = len(tasks) * self.settings.group_size
        limit = asyncio.Semaphore(self.settings.concurrency or total or 1)
        tail = tail or Tail(total, self.settings.tail_fraction, self.settings.tail_seconds)
        shared = _Step(limit, tail, time.perf_counter(), on_rollout)
        rollouts: list[asyncio.Task[Rollout]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for task in tasks:
                    start = group.create_task(self._start(step, task))
                    for index in range(self.settings.group_size):
                        run = _Run(step, task, index, seed_from(self.seed, step, task.id, index))
                        rollouts.append(group.create_task(self._rollout(shared, run, start)))
        except BaseExceptionGroup as error:
            raise _first(error) from error
        return [rollout.result() for rollout in rollouts]

    async def _start(self, step: int, task: Task) -> _Outcome[State]:
        """What the runs of a group start from."""
        seed = seed_from(self.seed, "prepare", step, task.id)
        with recorded() as spans:
            outcome = await self._tried(lambda: self.agent.prepare(task, seed))
        return replace(outcome, spans=spans)

    async def _rollout(self, step: _Step, run: _Run, start: asyncio.Task[_Outcome[State]]) -> Rollout:
        """One run from its group's start, stored when it has ended."""
        # A run is admitted before any run can ask, or a deterministic wave would start without it.
        with recorded() as spans:
            async with self.engine.admit() if self.settings.concurrency is None else nullcontext():
                prepared = await start
                asked = time.perf_counter()
                async with step.limit:
                    note_span("wait", "place", asked)
                    if prepared.value is not None:
                        rollout = await self._timed(step, run, prepared.value)
                    else:
                        rollout = run.rollout(failure=prepared.failure, attempts=prepared.attempts)
        spent = time_spent([*prepared.spans, *spans], step.began, time.perf_counter())
        rollout = replace(rollout, spent={name: round(seconds, 4) for name, seconds in spent.items()})
        step.tail.ended()
        if self.store is not None:
            await self.store.store(rollout)
        if step.on_rollout is not None:
            step.on_rollout(rollout)
        return rollout

    async def _timed(self, step: _Step, run: _Run, start: State) -> Rollout:
        """A run with its tries, until the step's stragglers are cancelled."""
        began = time.perf_counter()
        try:
            async with step.tail.limit():
                outcome = await self._tried(lambda: self._attempt(run, start, step.tail))
        except Late:
            message = f"Cut off {2 * self.settings.tail_seconds:g} seconds after most rollouts of the step had ended."
            outcome = _Outcome(None, 1, {"kind": "late", "message": message})
        seconds = time.perf_counter() - began
        if outcome.value is None:
            return run.rollout(failure=outcome.failure, attempts=outcome.attempts, seconds=seconds)
        self._any_success = True
        return replace(outcome.value, attempts=outcome.attempts, seconds=seconds)

    async def _attempt(self, run: _Run, start: State, tail: Tail) -> Rollout:
        """One run, scored.

        Raises:
            _Unfinished: a tool's service was down, and the run earned nothing.
            AgentFlowError: see `graph.errors`.
        """
        policy = self.make_policy(run.id, run.seed)
        policy.seconds_left = tail.seconds_left
        state = await self.agent.run(run.task, start, policy, run.seed)
        turns = tuple(self.agent.turns(state, policy))
        ended = time.perf_counter()
        reward = await self.reward(run.task, state.get(FINAL, state), turns)
        note_span("reward", "reward", ended)
        down = unavailable_tool(state)
        if down is not None and reward.terms.get("outcome", reward.total) <= 0:
            raise _Unfinished(down["kind"], down["message"])
        return run.rollout(
            turns=turns,
            reward=reward.total,
            rewards=dict(reward.terms),
            answer=str(state.get("answer") or ""),
            ended_by=str(state.get("ended_by") or ""),
            hurried=tail.seconds_left() <= 0,
            analysis=str(state.get("analysis") or ""),
            memory=[dict(turn) for turn in state.get("memory") or ()],
            usage={role: dict(cost) for role, cost in (state.get("usage") or {}).items()},
            trace=dict(state.get("trace") or {}),
        )

    async def _tried(self, attempt: Callable[[], Awaitable[T]]) -> _Outcome[T]:
        """The outcome of up to so many attempts as the settings allow."""
        for number in range(1, self.settings.attempts + 1):
            try:
                return _Outcome(await attempt(), number)
            except _Unfinished as error:
                failure = {"kind": error.kind, "message": error.message}
            except Exception as error:
                classified = classify(error, any_success=self._any_success)
                if classified is None:
                    raise
                if classified["kind"] == "defect":  # in one run; it must not end a night's training
                    logger.warning("A run failed with %s.", type(error).__name__, exc_info=True)
                failure = {"kind": classified["kind"], "message": without_credentials(classified["message"])}
                if failure["kind"] != TRANSIENT:
                    return _Outcome(None, number, failure)
            if number < self.settings.attempts:
                failed = time.perf_counter()
                await asyncio.sleep(self.settings.backoff * 2 ** (number - 1))
                await self.engine.recover()
                note_span("wait", "try", failed)
        return _Outcome(None, self.settings.attempts, failure)


def _first(error: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first: the others were cancelled or met the same."""
    inner = error.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
