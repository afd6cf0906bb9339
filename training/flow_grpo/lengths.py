"""Expected lengths of rollouts, before any are made."""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.flow_grpo.config import FlowGRPOConfig

PROMPT, OBSERVATION = 1500, 150
"""Default tokens of the first prompt, and between replies."""

_COMPLETION = 150


@dataclass(frozen=True)
class Lengths:
    """Lengths of an average rollout, in tokens."""

    turns: float
    prompt: float
    """First prompt."""
    completion: float
    observation: float

    @property
    def tail(self) -> float:
        """Tokens that a rollout adds to its first prompt."""
        return self.turns * self.completion + max(0.0, self.turns - 1) * self.observation

    @property
    def transcript(self) -> float:
        """Tokens of a whole rollout."""
        return self.prompt + self.tail


def usual_lengths(
    config: FlowGRPOConfig,
    *,
    prompt: int = PROMPT,
    completion: int | None = None,
    observation: int = OBSERVATION,
    turns: float | None = None,
) -> Lengths:
    """The expected lengths of a run's rollouts; by default each makes `max_turns` turns."""
    return Lengths(
        turns=turns or float(config.max_turns),
        prompt=prompt,
        completion=completion or min(config.max_tokens, _COMPLETION),
        observation=observation,
    )


@dataclass(frozen=True)
class StepTokens:
    """Tokens of one step."""

    sampled: float
    prompt: float
    """All prompts, each turn's counted in full."""
    prompt_computed: float
    """The part of these that no earlier turn or rollout of the group has computed."""
    rows: float
    """All rollouts, as if nothing were shared."""
    trained: float
    """The part of these that packing computes."""
    pairs: float
    """Pairs of a computed position and one that it attends to."""


def tokens_of(lengths: Lengths, tasks: int, group_size: int, budget: int) -> StepTokens:
    """The tokens of a step. A group that exceeds the budget is split, and each part computes its prompt again."""
    runs = tasks * group_size
    later = max(0.0, lengths.turns - 1)
    prompts = lengths.turns * (lengths.prompt + later / 2 * (lengths.completion + lengths.observation))
    together = max(1, int((budget - lengths.prompt) // lengths.tail))
    parts = math.ceil(group_size / together)
    return StepTokens(
        sampled=runs * lengths.turns * lengths.completion,
        prompt=runs * prompts,
        prompt_computed=tasks * lengths.prompt + runs * later * (lengths.observation + 1),
        rows=runs * lengths.transcript,
        trained=tasks * parts * lengths.prompt + runs * lengths.tail,
        pairs=tasks * parts * lengths.prompt**2 / 2 + runs * lengths.tail * (lengths.prompt + lengths.tail / 2),
    )
