"""What the benchmark of updates can be told."""

from __future__ import annotations

from dataclasses import dataclass

from training.speed_turns import Workload

ROWS = (1, 2, 4)
"""Samples of a micro-batch that TRL may choose from."""


@dataclass(frozen=True)
class Options:
    """The command's options."""

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
        """Tokens of a micro-batch: four whole rollouts, if nothing else is said."""
        return self.token_budget or max(ROWS) * self.workload.longest

    def as_arguments(self) -> list[str]:
        """The options that say what is computed, as words of the command."""
        names = ("model", "device", "groups", "group_size", "turns", "prompt", "completion", "observation", "seed")
        pairs = [*((name, getattr(self, name)) for name in names), ("token_budget", self.budget)]
        given = [(f"--{name.replace('_', '-')}", str(value)) for name, value in pairs if value is not None]
        return [word for pair in given for word in pair]
