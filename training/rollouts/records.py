"""The records of training: turns, rollouts, groups.

A `Rollout` is one run of the agent on one task, and ends in exactly one of two ways: with a reward, or with an
infrastructure failure (a dead server, a cut connection), which has no reward. A mistake of the agent is no failure
here: it earned its reward. A `Group` is the rollouts of one task in one step.

One schema, versioned; plain JSON, one line a rollout; readable without torch.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from evals.stored import Fields
from evals.task import Task
from graph.errors import DataError
from graph.state import Turn
from training.engines.base import FinishReason

SCHEMA = 1


@dataclass(frozen=True)
class PlannerTurn:
    """One call of the trained model, token for token.

    Raises:
        DataError: the prompt is empty, or log-probabilities and completion differ in length.
    """

    run: str
    """The rollout's id, written when the call was made: each turn tells whose it is."""
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    """What was sampled, the end-of-turn token included where it was sampled; nothing else."""
    logprobs: tuple[float, ...]
    """Of each completion token, in nats, under the distribution it was drawn from (temperature included)."""
    policy_version: int
    """How many updates the policy had seen."""
    temperature: float
    finish_reason: FinishReason
    """`length`: the reply was cut off; the end of turn that follows it in the transcript was not sampled."""
    role: str = ""
    """The role that the policy played."""
    prompt_digest: str = ""
    """Of the conversation that the prompt was made from (`rollouts.conversation`)."""
    reply_digest: str = ""
    """Of what the reply was read as, text and calls: a message that says something else is not this turn's any more."""
    rewritten: bool = False
    """Whether the prompt does not extend an earlier reply that its conversation shows: edited, trimmed, summarised."""
    unreadable: int = 0
    """Tool calls in the reply that could not be read and stayed text."""

    def __post_init__(self) -> None:
        for name in ("prompt_ids", "completion_ids", "logprobs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.prompt_ids:
            raise DataError(f"A planner turn of rollout {self.run} has no prompt.")
        if len(self.completion_ids) != len(self.logprobs):
            raise DataError(
                f"A planner turn of rollout {self.run} has {len(self.completion_ids)} completion tokens and "
                f"{len(self.logprobs)} log-probabilities."
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the graph's state and for files."""
        return {f.name: list(v) if isinstance(v := getattr(self, f.name), tuple) else v for f in fields(self)}


@dataclass(frozen=True)
class Rollout:
    """One run of the agent on one task."""

    id: str
    """`step/task/index`, see `rollout_id`."""
    task: Task
    step: int
    index: int
    """Place in its group."""
    seed: int
    turns: tuple[PlannerTurn, ...] = ()
    reward: float | None = None
    """What the run earned; None only with a failure."""
    rewards: Mapping[str, float] = field(default_factory=dict)
    """The reward's terms, by name."""
    failure: Mapping[str, str] | None = None
    """`kind` and `message` of an infrastructure failure."""
    answer: str = ""
    ended_by: str = ""
    analysis: str = ""
    memory: Sequence[Mapping[str, Any]] = ()
    """The run's turns as the graph kept them (`graph.state.Turn`)."""
    usage: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    trace: Mapping[str, Any] = field(default_factory=dict)
    """The prompts of every role to the letter, and the times of all calls (`graph.trace`)."""
    seconds: float = 0.0
    spent: Mapping[str, float] = field(default_factory=dict)
    """Seconds by what they were spent on, from the moment when the step could have begun it (`time_spent`)."""
    hurried: bool = False
    """Whether its time budget was ended early because most of its step's rollouts had ended (`rollouts.tail`)."""
    attempts: int = 1
    """Number of attempts, more than one after infrastructure failures."""
    captured: bool = True
    """Whether the turns hold the tokens that were sampled; False where ids were made from text later."""

    def __post_init__(self) -> None:
        if (self.reward is None) == (self.failure is None):
            raise DataError(f"Rollout {self.id} must have either a reward or a failure, not both and not neither.")
        strangers = sorted({turn.run for turn in self.turns} - {self.id})
        if strangers:
            raise DataError(f"Rollout {self.id} holds a planner turn of rollout {strangers[0]}.")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for one line of JSON; `rollout_from_dict` reads them back."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["task"] = asdict(self.task)
        plain["turns"] = [turn.as_dict() for turn in self.turns]
        plain["memory"] = [dict(turn) for turn in self.memory]
        return {"schema": SCHEMA, **plain}


@dataclass(frozen=True)
class Group:
    """The rollouts of one task in one step, without infrastructure failures."""

    task: Task
    rollouts: tuple[Rollout, ...]

    @property
    def rewards(self) -> tuple[float, ...]:
        """One reward a rollout, in order."""
        return tuple(rollout.reward for rollout in self.rollouts if rollout.reward is not None)


def rollout_id(step: int, task: Task, index: int) -> str:
    """The id of a rollout, unique within a training run."""
    return f"{step}/{task.id}/{index}"


def seed_from(*parts: object) -> int:
    """A seed in [0, 2^31) that depends on these parts alone, e.g. (run's seed, step, task, rollout, turn)."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def rollout_from_dict(plain: Mapping[str, Any]) -> Rollout:
    """Read what `Rollout.as_dict` wrote.

    Raises:
        DataError: another schema, or a field that is missing or unknown.
    """
    schema = plain.get("schema")
    if schema != SCHEMA:
        raise DataError(f"A rollout of schema {schema!r} cannot be read; this version reads schema {SCHEMA}.")
    values = {name: value for name, value in plain.items() if name != "schema"}
    try:
        task = dict(values["task"])
        for name in ("answers", "choices"):
            task[name] = tuple(task[name]) if task[name] is not None else None
        turns = tuple(PlannerTurn(**turn) for turn in values["turns"])
        rollout = Rollout(**{**values, "task": Task(**task), "turns": turns})
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"A stored rollout cannot be read: {error}.") from error
    for part, types in ((rollout, _ROLLOUT), (rollout.task, _TASK), *((turn, _TURN) for turn in turns)):
        try:
            types.check(vars(part))
        except DataError as error:
            raise DataError(f"A stored rollout cannot be read: {error}.") from None
    return rollout


_ROLLOUT = Fields(Rollout, {"memory": list[Turn]})
_TASK, _TURN = Fields(Task), Fields(PlannerTurn)


def groups_of(rollouts: Sequence[Rollout]) -> Iterator[Group]:
    """Rollouts with a reward by step and task, both in order of first appearance, each group in order of index."""
    by_task: dict[tuple[int, str], list[Rollout]] = {}
    for rollout in rollouts:
        if rollout.reward is not None:
            by_task.setdefault((rollout.step, rollout.task.id), []).append(rollout)
    for members in by_task.values():
        yield Group(members[0].task, tuple(sorted(members, key=lambda rollout: rollout.index)))


def by_task(rollouts: Iterable[Rollout]) -> dict[str, list[Rollout]]:
    """Rollouts by the id of their task, in order of first appearance."""
    tasks: dict[str, list[Rollout]] = {}
    for rollout in rollouts:
        tasks.setdefault(rollout.task.id, []).append(rollout)
    return tasks


def failures_by_kind(rollouts: Sequence[Rollout]) -> dict[str, int]:
    """Number of infrastructure failures by kind."""
    return dict(Counter(rollout.failure["kind"] for rollout in rollouts if rollout.failure))
