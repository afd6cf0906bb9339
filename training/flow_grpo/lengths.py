"""Lengths of rollouts as far as they are known before any was made."""

from __future__ import annotations

from dataclasses import dataclass

from training.flow_grpo.config import FlowGRPOConfig

PROMPT, OBSERVATION = 1500, 150
"""Tokens of the first prompt and between replies, where nothing better is known."""

_COMPLETION = 150


@dataclass(frozen=True)
class Lengths:
    """Of an average rollout, in tokens."""

    turns: float
    prompt: float
    """Of the first turn."""
    completion: float
    observation: float

    @property
    def tail(self) -> float:
        """What a rollout adds to its first prompt."""
        return self.turns * self.completion + max(0.0, self.turns - 1) * self.observation

    @property
    def transcript(self) -> float:
        """All of a rollout."""
        return self.prompt + self.tail


def usual_lengths(
    config: FlowGRPOConfig,
    *,
    prompt: int = PROMPT,
    completion: int | None = None,
    observation: int = OBSERVATION,
    turns: float | None = None,
) -> Lengths:
    """What a run's rollouts are taken to be like; by default each makes all its turns."""
    return Lengths(
        turns=turns or float(config.max_turns),
        prompt=prompt,
        completion=completion or min(config.max_tokens, _COMPLETION),
        observation=observation,
    )
