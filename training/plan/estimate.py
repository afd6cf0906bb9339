"""The plan of a run from its settings, its model's shape and measured or assumed rates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from graph.errors import ConfigError, DataError
from tools.counts import many
from training.engines.kinds import ENGINES
from training.engines.kinds import chosen as engine_of
from training.engines.vllm.card import USABLE
from training.flow_grpo import micro_batches
from training.flow_grpo.config import FlowGRPOConfig
from training.flow_grpo.lengths import OBSERVATION, PROMPT, StepTokens, tokens_of, usual_lengths
from training.flow_grpo.memory import server_memory, shared_memory, trainer_memory
from training.models.flops import ACCELERATORS, Accelerator, Shape, accelerator, shape_of
from training.plan.seconds import (
    Measured,
    Rates,
    StepSeconds,
    assumed,
    from_speed,
    measured,
    rates_of,
    seconds_of,
    steps_of,
)
from training.run.metrics import read_metrics

GIB = 2**30


UNUSED_SETTINGS: Mapping[str, Any] = {
    "out": "unused", "tasks": "unused", "validation": None, "validation_every": 0, "validation_limit": None,
}  # fmt: skip
"""Values for settings that only a run needs."""


@dataclass(frozen=True)
class Request:
    """What to plan for."""

    gpus: int
    gpu: str = "H100"
    serving: int | None = None
    """Serving GPUs; None: half with engine vllm, otherwise all (each samples its share)."""
    shard: bool = False
    """Whether the trainers share weights, gradients and optimizer."""
    prompt: int = PROMPT
    completion: int | None = None
    observation: int = OBSERVATION
    turns: float | None = None
    tool_seconds: float = 0.0
    shape: str | None = None
    """Shape of the model, if the one in the settings cannot be looked up."""
    kernels: bool = False
    """Whether the extra `kernels` will be installed there; it is assumed to be if it is here."""


def plan(
    config: FlowGRPOConfig, request: Request, *, rates: Path | None = None, run: Path | None = None
) -> dict[str, Any]:
    """The plan as plain values. `engine: auto` is planned with vLLM, other `auto` values as a run would choose them.

    Raises:
        ConfigError: the GPU is unknown, or there are too few.
        DataError: a file of rates or a run cannot be read.
    """
    config = as_run(config, request)
    shape, device = _shape(config, request), _device(request.gpu)
    trainers, samplers = _split(config, request)
    half: tuple[Measured, Measured] | None = _halves(run) if run else None
    lengths = usual_lengths(
        config,
        prompt=request.prompt,
        completion=request.completion,
        observation=request.observation,
        turns=request.turns or (half[0].turns if half else None),
    )
    step = _like(half[0], config) if half else tokens_of(
        lengths, config.tasks_per_step, config.group_size, config.budget
    )  # fmt: skip
    runs = config.tasks_per_step * config.group_size
    if rates is not None:
        speed = _read_rates(rates)
    elif half:
        speed = rates_of(half[0], f"the first {many(half[0].steps, 'step')} of {run}")
    else:
        speed = assumed(shape, device, request.gpu, config, step, runs / samplers)

    def at(tokens: StepTokens) -> StepSeconds:
        return seconds_of(
            tokens, speed, config, trainers=trainers, samplers=samplers, tool_seconds=request.tool_seconds
        )

    seconds = at(step)
    memory = trainer_memory(shape, config, sharded_over=trainers if request.shard else 1, fused=fuses(request))
    report: dict[str, Any] = {
        "model": request.shape or config.model,
        "weights": shape.weights,
        "gpus": request.gpus,
        "gpu": request.gpu,
        "trainers": trainers,
        "samplers": samplers,
        "rates": asdict(speed),
        "token_budget": config.budget,
        "gradient_checkpointing": config.recomputes,
        "fused_kernels": fuses(request),
        "lengths": None if half else asdict(lengths),
        "trainer_memory_bytes": asdict(memory) | {"total": memory.total, "of": device.memory},
        "fits": memory.total < USABLE * device.memory,
        "tokens": asdict(step),
        "seconds": asdict(seconds),
    }
    if ENGINES[config.engine].served:
        transcript = step.rows / runs
        if config.vllm_url:
            served = server_memory(shape, config, device.memory, servers=samplers, transcript=transcript)
        else:
            _, served = shared_memory(shape, config, memory, device.memory, transcript)
        report["server_memory_bytes"] = asdict(served)
        report["fits"] = report["fits"] and served.fits
    if config.overlap and not config.vllm_url:
        in_turns = seconds.rollout + seconds.reference + seconds.update + seconds.sync
        report["overlap_seconds"] = {"least": seconds.total, "most": in_turns}
    if half:
        report["compared_with_run"] = _compared(seconds, at(_like(half[1], config)), half[1])
    return report


def fuses(request: Request) -> bool:
    """Whether the GPU will have fused kernels, whatever this machine has for a GPU."""
    from training.models.kernels import is_installed

    return request.kernels or is_installed()


def as_run(config: FlowGRPOConfig, request: Request) -> FlowGRPOConfig:
    """The settings with what a run would choose in place of `auto`.

    Raises:
        ConfigError: the GPU or the model is unknown, or there are too few GPUs.
    """
    config = replace(config, engine=engine_of(config, gpu=True, vllm=True))
    if not micro_batches.automatic(config):
        return config
    trainers, _ = _split(config, request)
    room = micro_batches.Room(request.gpu, _device(request.gpu).memory, gpu=True, fused=fuses(request))
    sharded_over = trainers if request.shard else 1
    return micro_batches.chosen(config, _shape(config, request), room, sharded_over=sharded_over)


def _shape(config: FlowGRPOConfig, request: Request) -> Shape:
    from training.models.shapes import config_of

    return shape_of(config_of(request.shape or config.model))


_SMALLEST_BUDGET = 2048


def changes_that_fit(config: FlowGRPOConfig, request: Request) -> dict[str, Any] | None:
    """The smallest changes of settings that make a run fit, by name; None if there are none.

    Changes that cost only time come first: smaller micro-batches, then recomputed activations, then fewer runs at a
    time and a shorter context.
    """
    config = as_run(config, request)
    budgets = [config.budget >> halved for halved in range(1, 8) if config.budget >> halved >= _SMALLEST_BUDGET]
    memory: list[dict[str, Any]] = [
        {},
        {"max_batch": max(1, config.max_batch // 4), "memory_tokens": max(1, config.memory_tokens // 8)},
        {"concurrency": max(1, config.tasks_per_step * config.group_size // 8)},
    ]
    for less in memory:
        for checkpointing in dict.fromkeys((config.recomputes, True)):
            for budget in (config.budget, *budgets):
                changes: dict[str, Any] = {"token_budget": budget, "gradient_checkpointing": checkpointing, **less}
                changes = {name: value for name, value in changes.items() if value != getattr(config, name)}
                if changes and plan(replace(config, **changes), request)["fits"]:
                    return changes
    return None


def _device(name: str) -> Accelerator:
    device = accelerator(name)
    if device is None:
        raise ConfigError(f"There is no data sheet for the GPU {name!r}; name one of {', '.join(ACCELERATORS)}.")
    return device


def _split(config: FlowGRPOConfig, request: Request) -> tuple[int, int]:
    """Numbers of GPUs that train and that sample."""
    if not ENGINES[config.engine].served:
        if request.serving is not None:
            raise ConfigError(f"--serving is for engine: vllm; engine: {config.engine} samples where it trains.")
        return request.gpus, request.gpus
    if not config.vllm_url:
        if request.gpus > 1:
            raise ConfigError(
                f"engine: {config.engine} without vllm_url is for one GPU, which the run shares with a server that it "
                f"starts; for {request.gpus} GPUs start servers and name them with vllm_url."
            )
        return 1, 1
    serving = request.gpus // 2 if request.serving is None else request.serving
    if request.gpus < 2 or not 0 < serving < request.gpus:
        raise ConfigError(
            f"engine: {config.engine} needs a GPU to serve and one to train, got {request.gpus} GPUs of which "
            f"{serving} serve; raise --gpus, or set engine: transformers."
        )
    return request.gpus - serving, serving


def _read_rates(path: Path) -> Rates:
    if path.is_dir():
        lines = read_metrics(path / "metrics.jsonl")
        steps = measured(lines, str(path))
        return rates_of(steps, f"{many(steps.steps, 'step')} of {path}")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"The rates {path} cannot be read ({type(error).__name__}); check --rates.") from None
    return from_speed(report if isinstance(report, dict) else {}, str(path))


def _halves(run: Path) -> tuple[Measured, Measured]:
    """The steps of a run that the plan is made from, and those that it is compared with."""
    lines = steps_of(read_metrics(run / "metrics.jsonl"))
    if len(lines) < 2:
        raise DataError(f"{run} has {many(len(lines), 'step')}; a comparison needs at least two.")
    middle = len(lines) // 2
    return measured(lines[:middle], str(run)), measured(lines[middle:], str(run))


def _like(steps: Measured, config: FlowGRPOConfig) -> StepTokens:
    """The tokens of a step as in a run, scaled to the number of rollouts."""
    scale = config.tasks_per_step * config.group_size / max(1.0, steps.rollouts)
    return StepTokens(
        sampled=scale * steps.sampled,
        prompt=0.0,
        prompt_computed=0.0,
        rows=scale * steps.rows,
        trained=scale * steps.trained,
        pairs=0.0,
    )


def _compared(plan: StepSeconds, at_their_tokens: StepSeconds, steps: Measured) -> dict[str, Any]:
    """Planned and measured seconds by phase, and the relative errors of the plan.

    `error_of_rates` is the error that remains when the tokens are known: a policy that learns makes other rollouts, and
    fully solved groups are not trained on, which no plan can foresee.
    """

    def phases(seconds: StepSeconds) -> dict[str, float]:
        update = seconds.reference + seconds.update
        return {"rollout": seconds.rollout, "update": update, "step": seconds.rollout + update}

    planned, informed = phases(plan), phases(at_their_tokens)
    took = {name: steps.seconds[name] for name in ("rollout", "update")}
    took["step"] = sum(took.values())
    return {
        "steps": steps.steps,
        **{
            name: {
                "planned": planned[name],
                "measured": took[name],
                "error": _error(planned[name], took[name]),
                "error_of_rates": _error(informed[name], took[name]),
            }
            for name in took
        },
    }


def _error(planned: float, took: float) -> float:
    return planned / took - 1 if took else 0.0
