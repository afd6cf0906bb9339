"""What a run would need and take, before it is begun: memory of each GPU, tokens and seconds of a step by phase.

    python -m training.plan --config training/recipes/one_gpu.yaml --gpus 1 [--gpu H100] [--rates speed.json | RUN]
    python -m training.plan --config runs/mine/config.yaml --gpus 1 --run runs/mine

Rates come from `--rates`: a report of `python -m training.speed --phases --json`, or the folder of a run that was
measured. Without it they are guessed from the data sheet of `--gpu`, at a share of its peak that is stated. `--run`
holds the plan against a run: without `--rates` its first half of steps gives the rates and the lengths, and the error
is that of the second half. Validation and checkpoints are in no figure.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from graph.errors import AgentFlowError, ConfigError, DataError
from training.config import FlowGRPOConfig, load_config
from training.flops import ACCELERATORS, Accelerator, accelerator, shape_of
from training.metrics import read_metrics
from training.plan_memory import server_memory, trainer_memory
from training.plan_time import (
    Lengths,
    Measured,
    Rates,
    StepSeconds,
    StepTokens,
    assumed,
    from_speed,
    measured,
    rates_of,
    seconds_of,
    tokens_of,
)

GIB = 2**30

_NOT_PLANNED = [
    "--out=unused", "--tasks=unused", "--validation=null", "--validation_every=0", "--validation_limit=null",
]  # fmt: skip
"""Settings that a run needs and a plan does not."""


@dataclass(frozen=True)
class Request:
    """What is planned for."""

    gpus: int
    gpu: str = "H100"
    serving: int | None = None
    """GPUs that serve; None: half of them with engine vllm, all of them otherwise (each samples its share)."""
    shard: bool = False
    """Whether the trainers share weights, gradients and optimizer."""
    prompt: int = 1500
    completion: int | None = None
    observation: int = 150
    turns: float | None = None
    tool_seconds: float = 0.0
    shape: str | None = None
    """Shape of the model, where the settings name one that cannot be looked up here."""


def plan(
    config: FlowGRPOConfig, request: Request, *, rates: Path | None = None, run: Path | None = None
) -> dict[str, Any]:
    """The plan, plain values by name.

    Raises:
        ConfigError: the GPU is not known, or there are too few.
        DataError: a file of rates or a run cannot be read.
    """
    from training.shapes import config_of

    shape = shape_of(config_of(request.shape or config.model))
    device = _device(request.gpu)
    trainers, samplers = _split(config, request)
    half: tuple[Measured, Measured] | None = _halves(run) if run else None
    lengths = Lengths(
        turns=request.turns or (half[0].turns if half else 0) or float(config.max_turns),
        prompt=request.prompt,
        completion=request.completion or min(config.max_tokens, 150),
        observation=request.observation,
    )
    step = _like(half[0], config) if half else tokens_of(
        lengths, config.tasks_per_step, config.group_size, config.token_budget
    )  # fmt: skip
    runs = config.tasks_per_step * config.group_size
    if rates is not None:
        known = _read_rates(rates)
    elif half:
        known = rates_of(half[0], f"the first {half[0].steps} steps of {run}")
    else:
        known = assumed(shape, device, request.gpu, config, step, runs / samplers)

    def at(tokens: StepTokens) -> StepSeconds:
        return seconds_of(
            tokens, known, config, trainers=trainers, samplers=samplers, tool_seconds=request.tool_seconds
        )

    seconds = at(step)
    memory = trainer_memory(shape, config, sharded_over=trainers if request.shard else 1)
    made: dict[str, Any] = {
        "model": request.shape or config.model,
        "weights": shape.weights,
        "gpus": request.gpus,
        "gpu": request.gpu,
        "trainers": trainers,
        "samplers": samplers,
        "rates": asdict(known),
        "lengths": None if half else asdict(lengths),
        "trainer_memory_bytes": asdict(memory) | {"total": memory.total, "of": device.memory},
        "fits": memory.total < 0.95 * device.memory,
        "tokens": asdict(step),
        "seconds": asdict(seconds),
    }
    if config.engine == "vllm":
        served = server_memory(shape, config, device.memory, servers=samplers, transcript=step.rows / runs)
        made["server_memory_bytes"] = asdict(served)
        made["fits"] = made["fits"] and served.kv_cache > 0
    if half:
        made["compared_with_run"] = _compared(seconds, at(_like(half[1], config)), half[1])
    return made


def _device(name: str) -> Accelerator:
    found = accelerator(name)
    if found is None:
        raise ConfigError(f"There is no data sheet for the GPU {name!r}; name one of {', '.join(ACCELERATORS)}.")
    return found


def _split(config: FlowGRPOConfig, request: Request) -> tuple[int, int]:
    """GPUs that train, and GPUs that sample."""
    if config.engine != "vllm":
        if request.serving is not None:
            raise ConfigError("--serving is for engine: vllm; the transformers engine samples where it trains.")
        return request.gpus, request.gpus
    serving = request.gpus // 2 if request.serving is None else request.serving
    if request.gpus < 2 or not 0 < serving < request.gpus:
        raise ConfigError(
            f"engine: vllm needs a GPU to serve and one to train, got {request.gpus} GPUs of which {serving} serve; "
            "raise --gpus, or set engine: transformers."
        )
    return request.gpus - serving, serving


def _read_rates(path: Path) -> Rates:
    if path.is_dir():
        lines = read_metrics(path / "metrics.jsonl")
        found = measured(lines, str(path))
        return rates_of(found, f"{found.steps} steps of {path}")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"The rates {path} cannot be read ({type(error).__name__}); check --rates.") from None
    return from_speed(report if isinstance(report, dict) else {}, str(path))


def _halves(run: Path) -> tuple[Measured, Measured]:
    """The steps of a run that the plan may learn from, and those that it is held against."""
    lines = [line for line in read_metrics(run / "metrics.jsonl") if "seconds/rollout" in line]
    if len(lines) < 2:
        raise DataError(
            f"{run} has {len(lines)} steps; at least two are needed to plan by one and compare with another."
        )
    middle = len(lines) // 2
    return measured(lines[:middle], str(run)), measured(lines[middle:], str(run))


def _like(found: Measured, config: FlowGRPOConfig) -> StepTokens:
    """A step's tokens as a run's, scaled to the number of rollouts."""
    scale = config.tasks_per_step * config.group_size / max(1.0, found.rollouts)
    return StepTokens(
        sampled=scale * found.sampled,
        prompt=0.0,
        prompt_computed=0.0,
        rows=scale * found.rows,
        trained=scale * found.trained,
        pairs=0.0,
    )


def _compared(plan: StepSeconds, at_their_tokens: StepSeconds, found: Measured) -> dict[str, Any]:
    """Planned and measured seconds by phase, and by how much the plan is off.

    `error_of_rates` is what is left of the error when the tokens are known: a policy that learns makes other rollouts,
    and groups that are all right are not trained on, which no plan foresees.
    """

    def phases(seconds: StepSeconds) -> dict[str, float]:
        update = seconds.reference + seconds.update
        return {"rollout": seconds.rollout, "update": update, "step": seconds.rollout + update}

    planned, known = phases(plan), phases(at_their_tokens)
    took = {name: found.seconds[name] for name in ("rollout", "update")}
    took["step"] = sum(took.values())
    return {
        "steps": found.steps,
        **{
            name: {
                "planned": planned[name],
                "measured": took[name],
                "error": _error(planned[name], took[name]),
                "error_of_rates": _error(known[name], took[name]),
            }
            for name in took
        },
    }


def _error(planned: float, took: float) -> float:
    return planned / took - 1 if took else 0.0


def text(made: dict[str, Any]) -> str:
    """The plan for people."""
    memory = made["trainer_memory_bytes"]
    lines = [
        f"{made['model']}: {made['weights'] / 1e9:.2f} billion weights; {made['gpus']} x {made['gpu']}, "
        f"{made['trainers']} train, {made['samplers']} sample",
        f"rates: {made['rates']['source']}",
        "",
        "memory of a GPU that trains, GiB",
    ]
    lines += [
        f"  {name.replace('_', ' '):22}{memory[name] / GIB:9.2f}" for name in memory if memory[name] and name != "of"
    ]
    lines.append(f"  {'of':22}{memory['of'] / GIB:9.2f}   {'fits' if made['fits'] else 'DOES NOT FIT'}")
    served = made.get("server_memory_bytes")
    if served:
        lines += [
            "memory of a GPU that serves, GiB",
            f"  {'weights':22}{served['weights'] / GIB:9.2f}",
            f"  {'KV cache':22}{served['kv_cache'] / GIB:9.2f}   {served['kv_tokens']:,.0f} tokens; the step's open "
            f"transcripts hold {served['wanted_tokens']:,.0f}",
        ]
    lines.append("tokens of a step")
    lines += [f"  {name.replace('_', ' '):22}{value:12,.0f}" for name, value in made["tokens"].items() if value]
    lines.append("seconds of a step")
    lines += [f"  {name:22}{value:9.2f}" for name, value in made["seconds"].items() if value]
    compared = made.get("compared_with_run")
    if compared:
        lines.append(f"held against {compared['steps']} measured steps")
        for name in ("rollout", "update", "step"):
            found = compared[name]
            seconds = f"{found['planned']:9.2f} planned {found['measured']:9.2f} measured"
            errors = f"error {found['error']:+.0%}; {found['error_of_rates']:+.0%} at these steps' tokens"
            lines.append(f"  {name:22}{seconds}, {errors}")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.plan",
        description="Memory, tokens and seconds of a training run before it is begun.",
        epilog="Settings of the run can follow as --setting value, as for training.flow_grpo.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of settings")
    parser.add_argument("--gpus", type=int, required=True, metavar="N")
    parser.add_argument("--gpu", default=Request.gpu, help=f"one of {', '.join(ACCELERATORS)} (default %(default)s)")
    parser.add_argument("--serving", type=int, metavar="N", help="GPUs that serve the policy with vLLM (default: half)")
    parser.add_argument("--shard", action="store_true", help="trainers share weights and optimizer (FSDP, ZeRO-3)")
    parser.add_argument("--shape", help="shape of a model that cannot be looked up here (training.shapes)")
    parser.add_argument("--prompt", type=int, default=Request.prompt, help="tokens of the first prompt")
    parser.add_argument("--completion", type=int, help="tokens of a reply (default: 150, or max_tokens if less)")
    parser.add_argument("--observation", type=int, default=Request.observation, help="tokens between replies")
    parser.add_argument("--turns", type=float, help="turns of an average run (default: max_turns)")
    parser.add_argument("--tool-seconds", type=float, default=0.0, help="of one run, frozen modules included")
    parser.add_argument("--rates", type=Path, metavar="FILE|RUN", help="report of training.speed, or a run's folder")
    parser.add_argument("--run", type=Path, help="folder of a run to hold the plan against")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options, pairs = parser.parse_known_args(argv)
    try:
        request = Request(
            **{name: getattr(options, name) for name in Request.__dataclass_fields__ if hasattr(options, name)}
        )
        if request.gpus < 1 or min(request.prompt, request.observation) < 1:
            raise ConfigError("--gpus, --prompt and --observation must be at least 1.")
        config = load_config(options.config, [*_NOT_PLANNED, *pairs])
        made = plan(config, request, rates=options.rates, run=options.run)
    except AgentFlowError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(json.dumps(made) + "\n" if options.json else text(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
