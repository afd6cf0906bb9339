"""The memory of a run's updates: planned before the first, measured in each, and made to do when it runs out."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from torch import nn

from training.engines.decoding import causal_model
from training.flow_grpo.config import FlowGRPOConfig
from training.flow_grpo.memory import trainer_memory
from training.flow_grpo.micro_batches import Room, keep, lowered, settled
from training.models.device import peak_memory
from training.models.flops import known_shape
from training.run import ranks
from training.run.limits import is_out_of_memory

T = TypeVar("T")

logger = logging.getLogger(__name__)

GIB = 2**30

_TOLERATED = 1.1
"""Of the planned memory, before a warning."""


class UpdateMemory:
    """The memory of updates on this process's device. The processes of a run must be connected.

    Args:
        config: the run's settings.
        model: the policy.
        room: the device before anything was loaded.
        device: where the policy will be.
    """

    def __init__(self, config: FlowGRPOConfig, model: nn.Module, room: Room, device: torch.device) -> None:
        every: list[float] = gather_object([room.free])
        self._room = replace(room, free=min(every))
        self._device = device
        shape = known_shape(causal_model(model).config)
        sharded_over = ranks.world_size() if ranks.sharding() else 1
        self.config = ranks.shared(settled(config, shape, self._room, sharded_over=sharded_over))
        """The settings with values in place of `auto`, the same in all processes."""
        self._planned = trainer_memory(shape, self.config, sharded_over=sharded_over).total if shape else 0.0
        self._chosen = self.config
        self._kept = not room.settings
        self._warned = False

    def within(self, work: Callable[[], T], make_smaller: Callable[[FlowGRPOConfig], None]) -> T:
        """The result of work that can be repeated. If memory runs out, it is repeated once, with smaller micro-batches.

        Several processes cannot: the others already wait for this one's gradient. They find the smaller values when
        the run is started again.

        Args:
            work: leaves nothing behind if it fails.
            make_smaller: told of the settings to go on with.

        Raises:
            MemoryError, RuntimeError: memory ran out, and nothing is left to lower.
        """
        try:
            result = work()
        except (MemoryError, RuntimeError) as error:
            smaller = lowered(self.config, self._room) if self.config is self._chosen else None
            if not is_out_of_memory(error) or smaller is None:
                raise
            keep(smaller, self._room)
            if ranks.world_size() > 1:
                raise
        else:
            self._keep()
            return result
        # Outside the handler, where the error no longer holds the tensors of its frames.
        self.config = smaller
        make_smaller(smaller)
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return work()

    def watch(self) -> None:
        """An update begins."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def figures(self) -> dict[str, float]:
        """GiB at the peak of the update (on a CPU: of the process up to now), and as planned.

        The first time that a GPU's is far above the plan, a warning says so.
        """
        peak = peak_memory(self._device.type)
        if not self._planned:
            return {"memory/peak_gib": peak / GIB}
        if self._device.type == "cuda" and peak > _TOLERATED * self._planned and not self._warned:
            self._warned = True
            logger.warning(
                "An update took %.1f GiB, where the plan expected %.1f; if memory runs out, lower token_budget.",
                peak / GIB, self._planned / GIB,
            )  # fmt: skip
        return {"memory/peak_gib": peak / GIB, "memory/planned_gib": self._planned / GIB}

    def in_words(self) -> str:
        """What was chosen, and how much memory the plan expects."""
        activations = "recomputed" if self.config.recomputes else "kept"
        chosen = " (auto)" if self._room.settings else ""
        planned = f"; {self._planned / GIB:.1f} of {self._room.free / GIB:.1f} GiB by the plan" if self._planned else ""
        return f"micro-batches of {self.config.budget:,} tokens, activations {activations}{chosen}{planned}"

    def _keep(self) -> None:
        """Writes the choice down once it has served."""
        if not self._kept and ranks.rank() == 0:
            keep(self.config, self._room)
        self._kept = True


def what_changed(before: FlowGRPOConfig, after: FlowGRPOConfig) -> str:
    """In words, how smaller micro-batches are made."""
    return f"a token budget of {after.budget:,}" if after.budget < before.budget else "gradient checkpointing"
