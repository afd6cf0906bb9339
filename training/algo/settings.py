"""The settings of an objective. Without torch, so that they load quickly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graph.errors import ConfigError

USUAL_CLIPS: Mapping[str, tuple[float, float]] = {"ppo": (0.2, 0.3), "gspo": (3e-4, 4e-4), "cispo": (1.0, 4.0)}
"""Lower and upper clip range: AgentFlow's, GSPO's, and for CISPO the cap of 5 of ScaleRL (arXiv 2510.13786)."""


@dataclass(frozen=True)
class ObjectiveSettings:
    """Which objective, and its constants.

    Raises:
        ConfigError: an unknown objective, or a constant out of range.
    """

    objective: str = "ppo"
    clip_low: float | None = None
    """Ratios are clipped at 1 - clip_low; None: the usual value of the objective."""
    clip_high: float | None = None
    beta: float = 0.001
    """Weight of the KL penalty."""
    tis_cap: float | None = 2.0
    """Largest importance weight of old to sampler; None takes the ratio to the sampler instead."""

    def __post_init__(self) -> None:
        if self.objective not in USUAL_CLIPS:
            raise ConfigError(f"There is no objective {self.objective!r}; choose one of {', '.join(USUAL_CLIPS)}.")
        usual = USUAL_CLIPS[self.objective]
        for name, value in zip(("clip_low", "clip_high"), usual, strict=True):
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        low, high = self.clips
        if not 0 <= low <= 1 or not high >= 0:
            raise ConfigError(f"clip_low must be within 0..1 and clip_high at least 0, got {low} and {high}.")
        if not self.beta >= 0:
            raise ConfigError(f"beta must be at least 0, got {self.beta}.")
        if self.tis_cap is not None and not self.tis_cap > 0:
            raise ConfigError(f"tis_cap must be greater than 0 (or null), got {self.tis_cap}.")

    @property
    def clips(self) -> tuple[float, float]:
        """Both clip ranges."""
        assert self.clip_low is not None
        assert self.clip_high is not None
        return self.clip_low, self.clip_high
