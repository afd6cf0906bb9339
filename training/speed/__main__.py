"""Times one update: ours, packed and unpacked, and stock TRL's, on planner turns as the graph makes them.

    python -m training.speed [--groups 2 --group-size 8 --turns 3 --prompt 1000 --completion 100] [--json]
    python -m training.speed --device cuda --model 7b --phases

Four variants compute the gradient of the same step with the same weights (LoRA of rank 16 on all linear layers,
gradient checkpointing):

(a) packed       our update; tokens shared by rollouts are computed once
(b) unpacked     our update on padded rows, one per rollout
(c) trl          `GRPOTrainer`'s log-prob and loss path, one sample per planner turn, as the paper's authors train
(d) trl_merged   the same, one sample per rollout

They run in turn, each repeat beginning with another one. (c) and (d) get the fastest micro-batch of 1, 2 or 4 samples,
by the forward pass, do not mix lengths, and score completion positions alone; TRL as it is off Triton scores all, which
is timed once with a sample a micro-batch (`stock_head`). Nobody's micro-batch exceeds the token budget, which is four
whole rollouts. Of (b), (c) and (d) micro-batches of middling size are timed and stand for the rest. Peak memory is that
of fresh processes with one micro-batch of the budget each.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from graph.command_line import CommandLine, between
from training.run.command import run, say
from training.speed.workload import Options


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(lambda: _work(vars(_line().parse_args(argv))))


def _work(options: dict[str, Any]) -> None:
    as_json, so_far, variant = options.pop("json"), options.pop("so_far"), options.pop("peak_of")
    warnings.filterwarnings("ignore", module="trl|transformers|torch")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # GRPOTrainer would tell the Hub that it was made
    from training.speed.benchmark import measure, peak_of

    def show(report: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()

    workload = Options(**options)
    if variant:
        show(peak_of(workload, variant))
        return
    report = measure(workload, say, show) if so_far else measure(workload, say)
    if as_json or so_far:
        show(report)
    else:
        from training.speed.table import table

        sys.stdout.write(table(report))


def _line() -> CommandLine:
    count = between(int, 1)
    default = Options()
    line = CommandLine(
        prog="python -m training.speed", description="Time one update: ours, packed and unpacked, against stock TRL."
    )
    shapes = "a shape by name (tiny, 135m, 0.5b, 1.5b, 3b, 7b) or config.json with random weights, or a model"
    sampled = "micro-batches of (b), (c), (d) timed in each repeat; 0: all"
    whole = "also time a whole step: sampling, reference, update, optimizer"
    line.add_argument("--model", default=default.model, metavar="PATH_OR_CONFIG", help=shapes)
    line.add_argument("--device", choices=("cpu", "cuda"), default=default.device)
    line.add_argument("--groups", type=count, default=default.groups, help="tasks in the step")
    line.add_argument("--group-size", type=count, default=default.group_size, help="rollouts per task")
    line.add_argument("--turns", type=count, default=default.turns, help="planner turns per rollout")
    line.add_argument("--prompt", type=count, default=default.prompt, help="tokens of the first prompt")
    line.add_argument("--completion", type=count, default=default.completion, help="tokens of each reply")
    line.add_argument("--observation", type=count, help="tokens between replies (default: --completion)")
    line.add_argument("--token-budget", type=count, help="tokens per micro-batch (default: four rollouts)")
    line.add_argument(
        "--repeats", type=count, default=default.repeats, help="largest number of repeats; --minutes may stop earlier"
    )
    line.add_argument("--sample", type=between(int, 0), default=default.sample, help=sampled)
    line.add_argument(
        "--minutes",
        type=between(float, 0),
        default=default.minutes,
        help="time limit; no repeat starts that would exceed it",
    )
    line.add_argument("--seed", type=between(int, 0), default=default.seed)
    line.add_argument("--no-checkpointing", dest="checkpointing", action="store_false", help="keep all activations")
    line.add_argument("--attention", choices=("flash", "flex"), default=default.attention, help="packed, on CUDA")
    line.add_argument("--phases", action="store_true", help=whole)
    line.add_argument("--peak-of", choices=("packed", "trl"), help=argparse.SUPPRESS)
    line.add_argument("--json", action="store_true", help="print one JSON document")
    line.add_argument("--so-far", action="store_true", help="print one after each stage, with all figures by then")
    return line


if __name__ == "__main__":
    sys.exit(main())
