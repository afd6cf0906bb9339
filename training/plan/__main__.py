"""What a run would need and take, before it is begun: memory of each GPU, tokens and seconds of a step by phase.

    python -m training.plan --config training/recipes/one_gpu.yaml --gpus 1 [--gpu H100] [--rates speed.json | RUN]
    python -m training.plan --config runs/mine/config.yaml --gpus 1 --run runs/mine

Rates come from `--rates`: a report of `python -m training.speed --phases --json`, or the folder of a run that was
measured. Without it they are guessed from the data sheet of `--gpu`, at a share of its peak that is stated. `--run`
holds the plan against a run: without `--rates` its first half of steps gives the rates and the lengths, and the error
is that of the second half. Validation and checkpoints are in no figure.

Exit code 1 says that the run does not fit; what to change is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graph.command_line import CommandLine
from graph.errors import ConfigError
from training.flow_grpo.config import FlowGRPOConfig, load_config
from training.models.flops import ACCELERATORS
from training.plan.estimate import GIB, UNUSED_SETTINGS, Request, changes_that_fit, plan
from training.run.command import add_settings, run


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
        asleep = ", asleep while the trainer updates" if served["sleeps"] else ""
        shared = f"memory of the run's own server on the same GPU{asleep}, GiB"
        lines += [
            shared if served["shares_gpu"] else "memory of a GPU that serves, GiB",
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
    fits: list[bool] = []
    return run(lambda: fits.append(_work(_line().parse_args(argv)))) or (0 if all(fits) else 1)


def _work(options: argparse.Namespace) -> bool:
    request = Request(
        **{name: getattr(options, name) for name in Request.__dataclass_fields__ if hasattr(options, name)}
    )
    if request.gpus < 1 or min(request.prompt, request.observation) < 1:
        raise ConfigError("--gpus, --prompt and --observation must be at least 1.")
    config = load_config(options.config, {**UNUSED_SETTINGS, **options.settings})
    report = plan(config, request, rates=options.rates, run=options.run)
    sys.stdout.write(json.dumps(report) + "\n" if options.json else text(report))
    if not report["fits"]:
        changes = changes_that_fit(config, request)
        words = ", ".join(f"{name}: {str(value).lower()}" for name, value in (changes or {}).items())
        other = "No smaller settings make it fit; take a smaller model, a larger GPU, or more of them with --shard."
        sys.stderr.write(f"It does not fit. It would with {words}.\n" if words else f"It does not fit. {other}\n")
    return bool(report["fits"])


def _line() -> CommandLine:
    line = CommandLine(
        prog="python -m training.plan",
        usage="%(prog)s --gpus N [--config FILE] [options] [--SETTING VALUE ...]",
        description="Memory, tokens and seconds of a training run before it is begun.",
        epilog="Every setting of training.flow_grpo is an option.",
    )
    line.add_argument("--gpus", type=int, required=True, metavar="N", help="GPUs of the run")
    line.add_argument("--gpu", default=Request.gpu, help=f"one of {', '.join(ACCELERATORS)} (default %(default)s)")
    line.add_argument("--serving", type=int, metavar="N", help="GPUs that serve the policy with vLLM (default: half)")
    line.add_argument("--shard", action="store_true", help="trainers share weights and optimizer (FSDP, ZeRO-3)")
    line.add_argument("--shape", help="shape of a model that cannot be looked up here (training.models.shapes)")
    line.add_argument("--prompt", type=int, default=Request.prompt, help="tokens of the first prompt")
    line.add_argument("--completion", type=int, help="tokens of a reply (default: 150, or max_tokens if less)")
    line.add_argument("--observation", type=int, default=Request.observation, help="tokens between replies")
    line.add_argument("--turns", type=float, help="turns of an average run (default: max_turns)")
    line.add_argument("--tool-seconds", type=float, default=0.0, help="of one run, frozen modules included")
    line.add_argument("--rates", type=Path, metavar="FILE|RUN", help="report of training.speed, or a run's folder")
    line.add_argument("--run", type=Path, help="folder of a run to hold the plan against")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    add_settings(line, FlowGRPOConfig)
    return line


if __name__ == "__main__":
    sys.exit(main())
