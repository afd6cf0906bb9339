"""The runs of a step while they are under way: single runs, their attempts, and the groups that they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from evals.task import Task
from tools.spans import Span
from training.algo.credit import varies
from training.rollouts.records import Rollout, rollout_id
from training.rollouts.tail import Tail

T = TypeVar("T")


@dataclass
class Unfinished(Exception):
    """An attempt that ended with an infrastructure failure."""

    kind: str
    message: str


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """The outcome of all attempts: a value, or an infrastructure failure."""

    value: T | None
    attempts: int
    failure: Mapping[str, str] | None = None
    spans: Sequence[Span] = ()


@dataclass(frozen=True)
class Run:
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


@dataclass
class RunningGroup:
    """The runs of one task, at a place of the step."""

    task: Task
    place: int
    round: int
    """0: of the step's own tasks; then those that replace groups without variance."""
    began: float
    start: asyncio.Task[Outcome[Mapping[str, Any]]]
    runs: list[asyncio.Task[Rollout]] = field(default_factory=list)
    rewards: list[float | None] = field(default_factory=list)
    """Of the runs that have ended; None of failures."""

    def has_variance(self) -> bool:
        """Whether the runs so far can teach something."""
        return varies([reward for reward in self.rewards if reward is not None])


@dataclass
class RunningStep:
    """A step's groups, and what they share."""

    number: int
    spares: Sequence[Sequence[Task]]
    """By round and place: tasks that replace those whose group has rewards without variance."""
    limit: asyncio.Semaphore
    tail: Tail
    tasks: asyncio.TaskGroup
    began: float
    on_rollout: Callable[[Rollout], None] | None
    done: Collection[str] = ()
    """Ids of its rollouts that are not made again."""
    groups: list[RunningGroup] = field(default_factory=list)
    admissions: list[AsyncExitStack] = field(default_factory=list)
    """Each run's, entered before it begins."""

    def spare(self, group: RunningGroup) -> Task | None:
        """What replaces a group, if anything does."""
        round_ = self.spares[group.round] if group.round < len(self.spares) else ()
        return round_[group.place] if group.place < len(round_) else None

    def rollouts(self) -> list[Rollout]:
        """All of them: the step's own tasks in order, then those of each further round."""
        ordered = sorted(self.groups, key=lambda group: (group.round, group.place))
        return [run.result() for group in ordered for run in group.runs]
