"""Measure on one GPU, without a network, what the documents need: one JSON file and one table.

    python -m training.gpu_check --model FILE.gguf [--minutes 8] [--out gpu-check]
    python -m training.gpu_check --device cpu --model tiny --minutes 5          # a dry run

Parts: the GPU tests; the update's speed for the shapes of 0.5B and 7B, with gradient checkpointing and without, by both
attention kernels; one gradient's time by kind of kernel; the engine's rates at 16, 64 and 256 runs; ten steps of
`training.town`, with validation before and after. Each part has a time limit of its own and its log in `--out`; when
one fails or runs out of time, the others go on, and the report says so. The report is rewritten after every part.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from graph.command_line import CommandLine
from graph.errors import ConfigError
from training.gpu_check.parts import Machine, parts_of, run_parts
from training.gpu_check.table import table
from training.run.command import run


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 when a part failed."""
    failed: list[str] = []
    code = run(lambda: failed.extend(_work(_line().parse_args(argv))))
    return code or int(bool(failed))


def _work(options: argparse.Namespace) -> list[str]:
    """Runs all parts; returns the names of those that failed."""
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("There is no CUDA device here; use --device cpu --model tiny for a dry run.")
    machine = Machine(options.device, options.model, options.out)
    report = run_parts(parts_of(machine), machine, 60.0 * options.minutes, say=_say)
    sys.stdout.write(table(report))
    return [name for name, part in report["parts"].items() if part["state"] != "done"]


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _line() -> CommandLine:
    line = CommandLine(prog="python -m training.gpu_check", description="Measure on one GPU what the documents need.")
    line.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    line.add_argument("--model", metavar="PATH", help="policy of the training parts: a folder, a GGUF file, or tiny")
    line.add_argument("--minutes", type=float, default=8.0, help="time for all parts together")
    line.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder of the report and the logs")
    return line


if __name__ == "__main__":
    sys.exit(main())
