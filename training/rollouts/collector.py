"""Collects rollouts: many runs of many tasks at once, each with a reward or a typed failure at its end.

Infrastructure failures (a dead server, a cut connection, a search service that is down) are tried again, then recorded
as failures, which have no reward. The agent's own failures earn what they earn. What would fail in every run alike (a
wrong key, no sandbox) ends the step. `classify` says which is which. An agent's code that cannot run, or asks for what
cannot be had, looks the same whether every run meets it or one reply has led there, so the runs of a step decide: if
none has ever come through, it ends the step, otherwise it is the run's own failure.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

from evals.runs.failures import DEFECT, TRANSIENT, classify, unavailable_tool
from evals.task import Task
from graph.errors import AgentFlowError, ConfigError, DataError
from tools.secrecy import without_credentials
from tools.spans import note_span, recorded
from training.engines.base import Engine
from training.rollouts.agents import DOUBT, Agent, State
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import Rollout, rollout_id, seed_from
from training.rollouts.rewards import RewardError, RewardFunction
from training.rollouts.runs import Outcome, Run, RunningGroup, RunningStep, Unfinished
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
        self._doubt: AgentFlowError | None = None
        """The first error that ended a run while none had come through."""
        self._doubtful: set[str] = set()
        """Ids of the runs that such errors ended."""
        self._held: list[Rollout] = []
        """Their rollouts, which are none if no run comes through, and else are stored with the step."""

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
        spares: Sequence[Sequence[Task]] = (),
        tail: Tail | None = None,
        done: Collection[str] = (),
    ) -> list[Rollout]:
        """G runs of each task, all at once.

        Args:
            step: which step they belong to.
            tasks: its tasks, without repetition.
            on_rollout: called on the event loop after each rollout that has ended.
            spares: further tasks, place by place, a list for each round. As soon as a group has ended whose rewards
                have no variance, the task of the next round in its place begins; no group waits for others.
            tail: what is done with stragglers, if not what the settings say.
            done: ids of rollouts that came through before and are not made again.

        Returns:
            All rollouts in order of tasks and places in their groups, failed ones included; then those of the spares.

        Raises:
            AgentFlowError: a failure that every run would meet.
            OSError: a rollout could not be stored.
        """
        self._any_success |= bool(done)
        total = sum(len(self.missing(step, task, done)) for task in tasks)
        limit = asyncio.Semaphore(self.settings.concurrency or 2**31)
        tail = tail or Tail(total, self.settings.tail_fraction, self.settings.tail_seconds)
        running: RunningStep | None = None
        try:
            async with asyncio.TaskGroup() as group:
                running = RunningStep(step, spares, limit, tail, group, time.perf_counter(), on_rollout, done)
                for place, task in enumerate(tasks):
                    await self._begin(running, task, place)
        except BaseExceptionGroup as error:
            raise _first(error) from error
        finally:
            for admission in running.admissions if running else ():
                await admission.aclose()  # of runs that were cancelled before they began
        if self._doubt is not None and not self._any_success:
            raise self._doubt
        held, self._held = self._held, []
        for rollout in held:
            await self._store(rollout)
        return running.rollouts()

    def missing(self, step: int, task: Task, done: Collection[str]) -> list[int]:
        """The places of a task's group whose rollouts are not among those that are done."""
        places = range(self.settings.group_size)
        return [index for index in places if rollout_id(step, task, index) not in done]

    async def _begin(self, step: RunningStep, task: Task, place: int, round_: int = 0) -> None:
        """Begins a group. Its runs are admitted at once, or a deterministic wave would start without them; where only
        so many run at a time, each as it gets its place."""
        start = step.tasks.create_task(self._start(step.number, task))
        group = RunningGroup(task, place, round_, time.perf_counter(), start)
        step.groups.append(group)
        for index in self.missing(step.number, task, step.done):
            admission = AsyncExitStack()
            if self.settings.concurrency is None:
                await admission.enter_async_context(self.engine.admit())
            step.admissions.append(admission)
            run = Run(step.number, task, index, seed_from(self.seed, step.number, task.id, index))
            group.runs.append(step.tasks.create_task(self._rollout(step, group, run, admission)))

    async def _start(self, step: int, task: Task) -> Outcome[State]:
        """What the runs of a group start from."""
        seed = seed_from(self.seed, "prepare", step, task.id)
        with recorded() as spans:
            outcome = await self._tried(lambda: self.agent.prepare(task, seed))
        return replace(outcome, spans=spans)

    async def _rollout(self, step: RunningStep, group: RunningGroup, run: Run, admission: AsyncExitStack) -> Rollout:
        """One run from its group's start, stored when it has ended, unless its failure may be every run's."""
        with recorded() as spans:
            if group.round:
                note_span("wait", "refill", step.began, group.began)
            async with admission:
                prepared = await group.start
                asked = time.perf_counter()
                admitted = nullcontext() if self.settings.concurrency is None else self.engine.admit()
                async with step.limit, admitted:
                    note_span("wait", "place", asked)
                    if prepared.value is not None:
                        rollout = await self._timed(step.tail, run, prepared.value)
                    else:
                        rollout = run.rollout(failure=prepared.failure, attempts=prepared.attempts)
                group.rewards.append(rollout.reward)
                await self._replace(step, group)
        spent = time_spent([*prepared.spans, *spans], step.began, time.perf_counter())
        rollout = replace(rollout, spent={name: round(seconds, 4) for name, seconds in spent.items()})
        step.tail.ended()
        if run.id in self._doubtful:
            self._held.append(rollout)
        else:
            await self._store(rollout)
        if step.on_rollout is not None:
            step.on_rollout(rollout)
        return rollout

    async def _store(self, rollout: Rollout) -> None:
        if self.store is not None:
            await self.store.store(rollout)

    async def _replace(self, step: RunningStep, group: RunningGroup) -> None:
        """Begins the next group in this one's place, if this was the last of its runs and it teaches nothing."""
        if len(group.rewards) < self.settings.group_size or group.has_variance() or step.tail.hurries:
            return
        if (task := step.spare(group)) is not None:
            step.tail.expect(self.settings.group_size)
            await self._begin(step, task, group.place, group.round + 1)

    async def _timed(self, tail: Tail, run: Run, start: State) -> Rollout:
        """A run with its tries, until the step's stragglers are cancelled."""
        began = time.perf_counter()
        try:
            async with tail.limit():
                outcome = await self._tried(lambda: self._attempt(run, start, tail))
        except Late:
            message = f"Cut off {2 * self.settings.tail_seconds:g} seconds after most rollouts of the step had ended."
            outcome = Outcome(None, 1, {"kind": "late", "message": message})
        seconds = time.perf_counter() - began
        if outcome.value is None:
            return run.rollout(failure=outcome.failure, attempts=outcome.attempts, seconds=seconds)
        return replace(outcome.value, attempts=outcome.attempts, seconds=seconds)

    async def _attempt(self, run: Run, start: State, tail: Tail) -> Rollout:
        """One run, scored.

        Raises:
            Unfinished: a tool's service was down, and the run earned nothing.
            AgentFlowError: see `graph.errors`.
        """
        policy = self.make_policy(run.id, run.seed)
        policy.seconds_left = tail.seconds_left
        try:
            state = await self.agent.run(run.task, start, policy, run.seed)
        finally:
            policy.policy.close()
        doubt: AgentFlowError | None = state.get(DOUBT)
        if doubt is not None:
            self._raise_unless_own(doubt, run)
        if state.get("ended_by") == "time" and policy.policy.seconds_waited and not policy.policy.sampled:
            raise Unfinished(TRANSIENT, "The policy was asked and did not reply within the run's time (max_seconds).")
        turns = tuple(self.agent.turns(state, policy))
        ended = time.perf_counter()
        reward = await self.reward(run.task, state, turns)
        note_span("reward", "reward", ended)
        down = unavailable_tool(state)
        if down is not None and reward.terms.get("outcome", reward.total) <= 0:
            raise Unfinished(down["kind"], down["message"])
        self._any_success |= doubt is None
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

    def _raise_unless_own(self, doubt: AgentFlowError, run: Run) -> None:
        """Raises an error that ended a run, unless it may be the run's own failure, which is scored."""
        if not isinstance(doubt, ConfigError | DataError):
            raise doubt
        if classify(doubt, any_success=self._any_success) is None:
            self._doubt = self._doubt or doubt
            self._doubtful.add(run.id)

    async def _tried(self, attempt: Callable[[], Awaitable[T]]) -> Outcome[T]:
        """The outcome of up to so many attempts as the settings allow."""
        for number in range(1, self.settings.attempts + 1):
            try:
                return Outcome(await attempt(), number)
            except Unfinished as error:
                failure = {"kind": error.kind, "message": error.message}
            except (Exception, SystemExit) as error:
                classified = classify(error, any_success=self._any_success)
                if classified is None:
                    raise
                if classified["kind"] in (DEFECT, RewardError.kind):  # in one run; it must not end a night's training
                    logger.warning("A run failed with %s.", type(error).__name__, exc_info=True)
                failure = {"kind": classified["kind"], "message": without_credentials(classified["message"])}
                if failure["kind"] != TRANSIENT:
                    return Outcome(None, number, failure)
            if number < self.settings.attempts:
                failed = time.perf_counter()
                await asyncio.sleep(self.settings.backoff * 2 ** (number - 1))
                await self.engine.recover()
                note_span("wait", "try", failed)
        return Outcome(None, self.settings.attempts, failure)


def _first(error: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first: the others were cancelled or met the same."""
    inner = error.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
