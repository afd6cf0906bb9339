"""Plans a run before it starts: memory of each GPU, tokens and seconds of a step by phase.

    python -m training.plan --config training/recipes/one_gpu.yaml --gpus 1 [--gpu H100] [--rates speed.json | RUN]
    python -m training.plan --config runs/mine/config.yaml --gpus 1 --run runs/mine

`--rates` gives measured rates: a report of `python -m training.speed --phases --json`, or the folder of a run. Without
it they are estimated from the data sheet of `--gpu`, at a stated share of its peak. `--run` compares the plan with a
run: without `--rates`, the first half of its steps gives rates and lengths, and the error is that of the second half.
Validation and checkpoints are not included.

Exit code 1 means that the run does not fit; the output says what to change.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graph.command_line import CommandLine, between
from tools.counts import many
from training.flow_grpo.config import FlowGRPOConfig, load_config
from training.models.flops import ACCELERATORS
from training.plan.estimate import GIB, UNUSED_SETTINGS, Request, changes_that_fit, plan
from training.run.command import add_settings, run


def text(report: dict[str, Any]) -> str:
    """The plan as text."""
    memory = report["trainer_memory_bytes"]
    lines = [
        f"{report['model']}: {report['weights'] / 1e9:.2f} billion weights; {report['gpus']} x {report['gpu']}, "
        f"{report['trainers']} train, {report['samplers']} sample",
        f"rates: {report['rates']['source']}",
        f"micro-batches of {report['token_budget']:,} tokens, "
        f"activations {'recomputed' if report['gradient_checkpointing'] else 'kept'}",
        f"kernels: {'fused (extra `kernels`)' if report['fused_kernels'] else 'not fused; --kernels plans with them'}",
        "",
        "memory of a training GPU, GiB",
    ]
    lines += [
        f"  {name.replace('_', ' '):22}{memory[name] / GIB:9.2f}" for name in memory if memory[name] and name != "of"
    ]
    lines.append(f"  {'of':22}{memory['of'] / GIB:9.2f}   {'fits' if report['fits'] else 'DOES NOT FIT'}")
    served = report.get("server_memory_bytes")
    if served:
        asleep = ", asleep while the trainer updates" if served["sleeps"] else ""
        shared = f"memory of the run's own server on the same GPU{asleep}, GiB"
        lines += [
            shared if served["shares_gpu"] else "memory of a serving GPU, GiB",
            f"  {'weights':22}{served['weights'] / GIB:9.2f}",
            f"  {'KV cache':22}{served['kv_cache'] / GIB:9.2f}   {served['kv_tokens']:,.0f} tokens; the open "
            f"transcripts of a step hold {served['wanted_tokens']:,.0f}",
        ]
    lines.append("tokens of a step")
    lines += [f"  {name.replace('_', ' '):22}{value:12,.0f}" for name, value in report["tokens"].items() if value]
    lines.append("seconds of a step")
    lines += [f"  {name:22}{value:9.2f}" for name, value in report["seconds"].items() if value]
    overlap = report.get("overlap_seconds")
    if overlap:
        lines.append(
            f"overlap on one GPU: {overlap['least']:.2f} s a step if sampling and updating do not slow each other "
            f"down, {overlap['most']:.2f} if they do entirely; not measured"
        )
    compared = report.get("compared_with_run")
    if compared:
        lines.append(f"compared with {many(compared['steps'], 'measured step')}")
        for name in ("rollout", "update", "step"):
            phase = compared[name]
            seconds = f"{phase['planned']:9.2f} planned {phase['measured']:9.2f} measured"
            errors = f"error {phase['error']:+.0%}; {phase['error_of_rates']:+.0%} with the tokens of these steps"
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
        description="Memory, tokens and seconds of a training run, before it starts.",
        epilog="Every setting of training.flow_grpo is an option.",
    )
    line.add_argument("--gpus", type=between(int, 1), required=True, metavar="N", help="GPUs of the run")
    line.add_argument("--gpu", default=Request.gpu, help=f"one of {', '.join(ACCELERATORS)} (default %(default)s)")
    line.add_argument("--serving", type=between(int, 1), metavar="N", help="GPUs for vLLM servers (default: half)")
    line.add_argument(
        "--shard", action="store_true", help="shard weights and optimizer over the trainers (FSDP, ZeRO-3)"
    )
    line.add_argument("--kernels", action="store_true", help="the extra `kernels` will be installed there")
    line.add_argument("--shape", help="shape of the model, if it cannot be looked up (training.models.shapes)")
    line.add_argument("--prompt", type=between(int, 1), default=Request.prompt, help="tokens of the first prompt")
    line.add_argument(
        "--completion", type=between(int, 1), help="tokens of a reply (default: 150, or max_tokens if less)"
    )
    line.add_argument("--observation", type=between(int, 1), default=Request.observation, help="tokens between replies")
    line.add_argument("--turns", type=between(float, 1), help="mean turns of a run (default: max_turns)")
    line.add_argument(
        "--tool-seconds", type=between(float, 0), default=0.0, help="seconds of tools and frozen roles per run"
    )
    line.add_argument("--rates", type=Path, metavar="FILE|RUN", help="report of training.speed, or a run's folder")
    line.add_argument("--run", type=Path, help="folder of a run to compare the plan with")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    add_settings(line, FlowGRPOConfig)
    return line


if __name__ == "__main__":
    sys.exit(main())
