"""Tokens and seconds of a step by phase, from lengths and rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from graph.errors import DataError
from training.engines.kinds import ENGINES
from training.flow_grpo.config import FlowGRPOConfig
from training.flow_grpo.lengths import StepTokens
from training.models.flops import Accelerator, Shape, operations

UTILISATION = 0.4
"""Share of the published peak that dense passes reach, where no rate was measured."""

BANDWIDTH_USED = 0.6
"""Share of the published memory bandwidth that decoding reaches."""


@dataclass(frozen=True)
class Rates:
    """Speeds of one GPU, or of the machine that was measured."""

    source: str
    update: float
    """Packed tokens per second, forward and backward."""
    reference: float
    """Packed tokens per second, forward only; infinite where the update's rate includes it."""
    sampled: float
    """Sampled tokens per second, including the time for prompts."""


def assumed(
    shape: Shape, device: Accelerator, name: str, config: FlowGRPOConfig, step: StepTokens, per_engine: float
) -> Rates:
    """Rates from a data sheet.

    Dense passes run at `UTILISATION` of the peak (model operations; see `models.flops`). Decoding reads all weights
    once per token of a wave, at `BANDWIDTH_USED` of the bandwidth, or computes, whichever takes longer; it also reads
    the keys and values of the running transcripts.

    Args:
        shape: the model.
        device: its data sheet.
        name: name of the device.
        config: the run.
        step: its tokens.
        per_engine: runs sampled together by one GPU.
    """
    dense = UTILISATION * device.operations
    counted = operations(
        shape, step.trained, step.pairs, step.sampled, lora_rank=config.lora_rank,
        checkpointing=config.recomputes,
    )  # fmt: skip
    size = 2 if config.dtype == "bfloat16" else 4
    batch = max(1.0, per_engine if ENGINES[config.engine].served else min(per_engine, config.max_batch))
    transcript = step.rows / (config.tasks_per_step * config.group_size)
    read = size * (shape.weights + batch * transcript * shape.kv_values)
    wave = max(read / (BANDWIDTH_USED * device.bandwidth), 2 * shape.weights * batch / dense)
    # Each sampled token pays its share of the computed prompts.
    prefill = 2 * shape.layer_weights * step.prompt_computed / step.sampled / dense
    return Rates(
        source=f"{name}'s data sheet at {UTILISATION:.0%} of its peak and {BANDWIDTH_USED:.0%} of its bandwidth",
        update=step.trained / (counted.model / dense),
        reference=step.trained / (counted.forward / dense),
        sampled=1 / (wave / batch + prefill),
    )


def from_speed(report: Mapping[str, Any], source: str) -> Rates:
    """Rates from a report of `python -m training.speed --json`.

    Raises:
        DataError: it is another report, or made without `--phases`, which times sampling.
    """
    try:
        return Rates(
            source=source,
            update=float(report["update_tokens_per_second"]),
            reference=report["tokens"]["packed"] / report["reference_seconds"]["packed"],
            sampled=float(report["phases"]["sampled_tokens_per_second"]),
        )
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{source} lacks {error}; make it with: python -m training.speed --phases --json, or name a run's folder."
        ) from error


@dataclass(frozen=True)
class Measured:
    """Means over some steps of a run."""

    steps: int
    rollouts: float
    turns: float
    sampled: float
    trained: float
    rows: float
    seconds: Mapping[str, float]
    """By phase: rollout, update, sync."""


PHASES = ("rollout", "update", "sync")


def steps_of(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The steps in lines of `metrics.jsonl`: each its first line, with the seconds of all its updates."""
    steps: list[dict[str, Any]] = []
    for line in lines:
        if "seconds/rollout" in line:
            steps.append(dict(line))
        elif steps and "seconds/update" in line:
            steps[-1]["seconds/update"] = steps[-1].get("seconds/update", 0.0) + line["seconds/update"]
    return steps


def measured(lines: Sequence[Mapping[str, Any]], source: str) -> Measured:
    """Means over the steps in lines of `metrics.jsonl`.

    Raises:
        DataError: there is no step.
    """
    steps = [step for step in steps_of(lines) if "tokens/computed" in step]
    if not steps:
        raise DataError(f"{source} holds no step; let the run make a few steps first.")

    def mean(name: str) -> float:
        return fmean(float(line.get(name, 0.0)) for line in steps)

    drawn = "engine/sampled_tokens" if "engine/sampled_tokens" in steps[0] else "tokens/trained"
    return Measured(
        steps=len(steps),
        rollouts=mean("rollouts"),
        turns=mean("turns"),
        sampled=mean(drawn),
        trained=mean("tokens/computed"),
        rows=mean("tokens/rows"),
        seconds={phase: mean(f"seconds/{phase}") for phase in PHASES},
    )


def rates_of(steps: Measured, source: str) -> Rates:
    """Rates of a run; its update includes the reference pass."""
    return Rates(
        source=source,
        update=steps.trained / max(steps.seconds["update"], 1e-9),
        reference=math.inf,
        sampled=steps.sampled / max(steps.seconds["rollout"], 1e-9),
    )


@dataclass(frozen=True)
class StepSeconds:
    """Seconds of one step."""

    rollout: float
    """The longer of generation and tools, since each run waits only for its own tools."""
    generation: float
    tools: float
    reference: float
    update: float
    """All updates of the step."""
    sync: float
    total: float
    """With overlap the longer of rollout and update."""


def seconds_of(
    step: StepTokens, rates: Rates, config: FlowGRPOConfig, *, trainers: int, samplers: int, tool_seconds: float
) -> StepSeconds:
    """The seconds of a step by phase, with work shared evenly by data-parallel processes.

    Args:
        step: its tokens.
        rates: of one GPU.
        config: the run.
        trainers: number of training GPUs.
        samplers: number of sampling GPUs.
        tool_seconds: seconds of tools and frozen roles in one run.
    """
    generation = step.sampled / rates.sampled / samplers
    passes = (config.beta > 0) * config.updates_per_step + (config.updates_per_step > 1)
    reference = passes * step.trained / rates.reference / trainers
    update = config.updates_per_step * step.trained / rates.update / trainers
    rollout = max(generation, tool_seconds)
    sync = 1.0 if ENGINES[config.engine].served else 0.0
    trained = reference + update
    total = (max(rollout, trained) if config.overlap else rollout + trained) + sync
    return StepSeconds(rollout, generation, tool_seconds, reference, update, sync, total)
