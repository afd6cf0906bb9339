"""The size of micro-batches where the settings leave it to the machine: `token_budget` and `gradient_checkpointing`.

Of all choices that fit into the free memory by the plan's numbers (`training.flow_grpo.memory`), a run takes the one
that costs the fewest operations: recomputed activations cost a forward pass, small micro-batches compute the beginnings
again that their rows share. A server on the same GPU is given its room first, since rollouts take most of a step.

The choice is kept in the run's folder, and a run that is resumed on the same kind of device keeps it: memory that is
free today and was not yesterday would otherwise change how sums are rounded in the middle of a run. If memory runs out
all the same, what was left to the machine is lowered once, and that is kept as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from graph.errors import ConfigError
from training.engines.kinds import AUTO
from training.engines.vllm.card import USABLE
from training.flow_grpo.config import USUAL_BUDGET, FlowGRPOConfig
from training.flow_grpo.lengths import tokens_of, usual_lengths
from training.flow_grpo.memory import TrainerMemory, shared_memory, trainer_memory
from training.models.flops import Shape, operations

BUDGETS = (2048, 4096, 8192, 16384)
"""Budgets to choose from; larger ones are no faster."""

SMALLEST = 512
"""The least that a budget is lowered to."""

SETTINGS = ("token_budget", "gradient_checkpointing")

FILE = "micro_batches.json"
"""The choice in the run's folder."""


@dataclass(frozen=True)
class Room:
    """What a process trains on."""

    device: str
    """Name of the device; a choice holds for devices of this name."""
    free: float
    """Bytes that were free before the policy was loaded."""
    gpu: bool
    settings: tuple[str, ...] = SETTINGS
    """Those of `SETTINGS` that are left to the machine."""
    fused: bool | None = None
    """Whether its kernels are fused, where it is not this machine's."""


def room_of(config: FlowGRPOConfig) -> Room:
    """The device of this process and its free memory.

    Raises:
        ConfigError: it is not there.
    """
    from training.models.device import device_of, memory_of, name_of

    device = device_of(config.device)
    free, total = memory_of(device)
    return Room(f"{name_of(device)}, {total / 2**30:.0f} GiB", float(free), device.type == "cuda", automatic(config))


def automatic(config: FlowGRPOConfig) -> tuple[str, ...]:
    """The settings that are left to the machine."""
    return tuple(name for name in SETTINGS if getattr(config, name) == AUTO)


def settled(config: FlowGRPOConfig, shape: Shape | None, room: Room, *, sharded_over: int = 1) -> FlowGRPOConfig:
    """The settings with what the run has chosen before in place of `auto`, or with what is chosen now.

    Args:
        config: the run.
        shape: the model's; None if nothing is known of it, which leaves the usual values.
        room: the device.
        sharded_over: see `trainer_memory`.
    """
    config = _with_kept(config, room)
    if not automatic(config):
        return config
    return with_usual(config) if shape is None else chosen(config, shape, room, sharded_over=sharded_over)


def chosen(config: FlowGRPOConfig, shape: Shape, room: Room, *, sharded_over: int = 1) -> FlowGRPOConfig:
    """The settings with values in place of `auto`.

    Of what does not fit at all, the smallest is chosen. On a CPU the usual values are taken wherever they fit, and in a
    deterministic run everywhere, so that results do not depend on how much memory other programs leave.

    Args:
        config: the run.
        shape: the model.
        room: the device.
        sharded_over: see `trainer_memory`.
    """
    if config.deterministic:
        return with_usual(config)
    budgets = BUDGETS if room.gpu else tuple(budget for budget in BUDGETS if budget <= USUAL_BUDGET)
    choices = [
        replace(config, token_budget=budget, gradient_checkpointing=recomputes)
        for budget, recomputes in product(
            budgets if config.token_budget == AUTO else (config.token_budget,),
            (False, True) if config.gradient_checkpointing == AUTO else (config.gradient_checkpointing,),
        )
    ]
    fits = _shared(shape, room) if room.gpu and config.starts_server else _alone(room)
    memory = partial(trainer_memory, shape, sharded_over=sharded_over, fused=room.fused)
    ranked = [(fits(choice, memory(choice)), choice) for choice in choices]
    if all(rank == _TOO_LARGE for rank, _ in ranked):
        return min(choices, key=lambda choice: memory(choice).total)
    return min(ranked, key=lambda pair: (pair[0], _operations(shape, pair[1]), -pair[1].budget))[1]


def with_usual(config: FlowGRPOConfig) -> FlowGRPOConfig:
    """The settings with the usual values in place of `auto`: what a run takes whose memory cannot be planned."""
    return replace(config, token_budget=config.budget, gradient_checkpointing=config.recomputes)


_SIDE_BY_SIDE, _CRAMPED, _IN_TURNS, _TOO_LARGE = range(4)
"""How well something fits, from best to worst."""

_Fits = Callable[[FlowGRPOConfig, TrainerMemory], int]


def _alone(room: Room) -> _Fits:
    def fits(_: FlowGRPOConfig, memory: TrainerMemory) -> int:
        return _SIDE_BY_SIDE if memory.total <= USABLE * room.free else _TOO_LARGE

    return fits


def _shared(shape: Shape, room: Room) -> _Fits:
    """On a GPU with the run's own server: its cache should hold all open transcripts, and it should not have to sleep,
    which takes longer than recomputing activations saves."""

    def fits(config: FlowGRPOConfig, memory: TrainerMemory) -> int:
        share, served = shared_memory(shape, config, memory, room.free, usual_lengths(config).transcript)
        if not served.fits:
            return _TOO_LARGE
        if share.sleeps:
            return _IN_TURNS
        return _SIDE_BY_SIDE if served.kv_tokens >= served.wanted_tokens else _CRAMPED

    return fits


def _operations(shape: Shape, config: FlowGRPOConfig) -> float:
    step = tokens_of(usual_lengths(config), config.tasks_per_step, config.group_size, config.budget)
    counted = operations(
        shape, step.trained, step.pairs, step.sampled, lora_rank=config.lora_rank, checkpointing=config.recomputes
    )
    return counted.hardware


def lowered(config: FlowGRPOConfig, room: Room) -> FlowGRPOConfig | None:
    """Settings that need less memory; None if nothing is left to lower.

    Args:
        config: what memory ran out with.
        room: says which settings are left to the machine.
    """
    if "gradient_checkpointing" in room.settings and not config.recomputes:
        return replace(config, gradient_checkpointing=True)
    if "token_budget" in room.settings and config.budget > SMALLEST:
        return replace(config, token_budget=max(SMALLEST, config.budget // 2))
    return None


def keep(config: FlowGRPOConfig, room: Room) -> None:
    """Writes the choice to the run's folder."""
    path = Path(config.out) / FILE
    values = {"device": room.device} | {name: getattr(config, name) for name in SETTINGS}
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(values) + "\n", encoding="utf-8")
    temporary.replace(path)


def _with_kept(config: FlowGRPOConfig, room: Room) -> FlowGRPOConfig:
    """The settings with what the run has chosen before in place of `auto`, if that was for the same device."""
    try:
        kept = json.loads((Path(config.out) / FILE).read_text(encoding="utf-8"))
        if kept["device"] != room.device:
            return config
        values: dict[str, Any] = {name: kept[name] for name in automatic(config)}
        return replace(config, **values)
    except (OSError, ValueError, KeyError, TypeError, ConfigError):  # none, or not written by us
        return config
