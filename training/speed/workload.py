"""Planner turns as the graph makes them, with random tokens: the data of the benchmark.

Transcripts are append-only: turn t + 1 is turn t, its reply, and one observation. The first prompt is static text (the
planner's instructions and tool cards, equal for all tasks) and then the task's own part (question and analysis, equal
in its group). Only lengths matter for speed, so the tokens are random; rewards vary within every group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evals.task import Task
from graph.errors import ConfigError
from training.rollouts.records import Group, PlannerTurn, Rollout, rollout_id
from training.update.assemble import assemble
from training.update.rows import Row


@dataclass(frozen=True)
class Workload:
    """The step that is measured; lengths are in tokens.

    Raises:
        ConfigError: a count is too small.
    """

    groups: int = 2
    group_size: int = 8
    turns: int = 3
    prompt: int = 1000
    """First prompt."""
    completion: int = 100
    """Each reply."""
    observation: int = 100
    """Text between two replies."""
    static: float = 0.7
    """Share of the first prompt that is equal for all tasks."""
    shared: bool = True
    """False: no two rollouts share a prefix, so packing saves nothing."""
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"groups": 1, "group_size": 2, "turns": 1, "prompt": 2, "completion": 1, "observation": 1}
        for name, floor in least.items():
            if getattr(self, name) < floor:
                raise ConfigError(f"{name.replace('_', ' ')} must be at least {floor}, got {getattr(self, name)}.")

    @property
    def longest(self) -> int:
        """Tokens of a whole rollout."""
        return self.prompt + self.turns * self.completion + (self.turns - 1) * self.observation


def step_of(workload: Workload, vocabulary: int) -> list[Group]:
    """The groups of the step.

    Args:
        workload: its sizes.
        vocabulary: token ids are below it.
    """
    chance = np.random.default_rng(workload.seed)

    def tokens(count: int) -> list[int]:
        return list(chance.integers(0, vocabulary, count).tolist())

    static_length = round(workload.static * workload.prompt)
    static = tokens(static_length)
    groups = []
    for number in range(workload.groups):
        task = Task(id=f"task-{number}", question="?", answers=("!",))
        opening = static + tokens(workload.prompt - static_length)
        rewards = np.arange(workload.group_size) % 2  # half of them right
        chance.shuffle(rewards)
        members = []
        for index in range(workload.group_size):
            name = rollout_id(0, task, index)
            transcript = opening if workload.shared else tokens(workload.prompt)
            turns = []
            for _ in range(workload.turns):
                completion = tokens(workload.completion)
                # Log-probabilities of an untrained model, so that the ratios start near 1.
                logprobs = [-float(np.log(vocabulary))] * len(completion)
                turns.append(PlannerTurn(name, tuple(transcript), tuple(completion), tuple(logprobs), 0, 1.0, "stop"))
                transcript = [*transcript, *completion, *tokens(workload.observation)]
            members.append(
                Rollout(name, task, step=0, index=index, seed=0, turns=tuple(turns), reward=float(rewards[index]))
            )
        groups.append(Group(task, tuple(members)))
    return groups


def rows_of(groups: Sequence[Group]) -> list[Row]:
    """The step's rows, as the trainer assembles them."""
    return assemble(groups, temperature=1.0).rows


@dataclass(frozen=True)
class Sample:
    """One sequence as TRL's `GRPOTrainer` trains it: a prompt, and a completion with some trained tokens."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    trained: tuple[bool, ...]
    """For each completion token."""
    advantage: float

    @property
    def shape(self) -> tuple[int, int]:
        """Tokens of prompt and completion."""
        return len(self.prompt), len(self.completion)


def turn_samples(groups: Sequence[Group]) -> list[Sample]:
    """One sample per planner turn, as the paper's authors train."""
    advantages = assemble(groups, temperature=1.0).advantages
    return [
        Sample(turn.prompt_ids, turn.completion_ids, (True,) * len(turn.completion_ids), advantages[rollout.id][number])
        for group in groups
        for rollout in group.rollouts
        for number, turn in enumerate(rollout.turns)
    ]


def merged_samples(groups: Sequence[Group]) -> list[Sample]:
    """One sample per rollout; text between the turns is part of the completion but not trained."""
    samples = []
    for row in rows_of(groups):
        first = int(row.terms.positions[0])
        ids = tuple(row.input_ids.tolist())
        trained = np.zeros(len(ids), dtype=bool)
        trained[row.terms.positions] = True
        samples.append(
            Sample(ids[:first], ids[first:], tuple(trained[first:].tolist()), float(row.terms.advantages[0]))
        )
    return samples


def unshared(workload: Workload, rollouts: int) -> Workload:
    """As many rollouts of one turn, with nothing in common."""
    return replace(workload, groups=1, group_size=rollouts, turns=1, shared=False)


ROWS = (1, 2, 4)
"""Micro-batch sizes that TRL may choose from."""


@dataclass(frozen=True)
class Options:
    """The options of the command."""

    model: str = "135m"
    device: str = "cpu"
    groups: int = 2
    group_size: int = 8
    turns: int = 3
    prompt: int = 1000
    completion: int = 100
    observation: int | None = None
    token_budget: int | None = None
    repeats: int = 3
    sample: int = 1
    minutes: float = 19.0
    seed: int = 0
    phases: bool = False
    checkpointing: bool = True
    attention: str = "flash"
    """What attends on CUDA in half precision: `flash` or `flex`."""

    @property
    def workload(self) -> Workload:
        """The step that is measured."""
        return Workload(
            groups=self.groups,
            group_size=self.group_size,
            turns=self.turns,
            prompt=self.prompt,
            completion=self.completion,
            observation=self.completion if self.observation is None else self.observation,
            seed=self.seed,
        )

    @property
    def budget(self) -> int:
        """Tokens per micro-batch; default: four whole rollouts."""
        return self.token_budget or max(ROWS) * self.workload.longest

    def as_arguments(self) -> list[str]:
        """The options that determine the computation, as command-line arguments."""
        names = ("model", "device", "groups", "group_size", "turns", "prompt", "completion", "observation", "seed")
        pairs = [*((name, getattr(self, name)) for name in names), ("token_budget", self.budget)]
        pairs.append(("attention", self.attention))
        words = [(f"--{name.replace('_', '-')}", str(value)) for name, value in pairs if value is not None]
        return [word for pair in words for word in pair] + ([] if self.checkpointing else ["--no-checkpointing"])
