"""Measure on one GPU, without a network, what the documents need: one JSON file and one table.

    python -m training.gpu_check --model FILE.gguf [--minutes 8] [--out gpu-check]
    python -m training.gpu_check --out gpu-check --model FILE.gguf --only training --only rates   # some parts again
    python -m training.gpu_check --device cpu --model tiny --minutes 5          # a dry run

Parts, in order: the update's speed for the shape of 7B against TRL; ten steps of `training.town` with vLLM where it is
installed, else in this process, with held-out tasks before and after; the GPU tests; the update's time with gradient
checkpointing and without and by both attention kernels, each with its memory and a profile by kind of kernel; the same
for 0.5B; the engines' rates at 16, 64 and 256 runs. Each part has a time limit of its own and its log in `--out`; when
one fails or runs out of time, the others go on, and the report says what was measured by then and what could not be
done. Report and table are written after every part, and when the check is interrupted (Ctrl-C, SIGTERM). Without
`--model` the parts that need a policy are left out.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from graph.command_line import CommandLine, between
from graph.errors import ConfigError
from training.gpu_check.parts import Machine, parts_of
from training.gpu_check.running import run_parts
from training.gpu_check.table import table
from training.run.command import run, say


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 when something could not be done."""
    undone: list[str] = []
    code = run(lambda: undone.extend(_work(_line().parse_args(argv))))
    return code or int(bool(undone))


def _work(options: argparse.Namespace) -> list[str]:
    """Runs the parts; returns the names of those that could not be done."""
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("There is no CUDA device here; use --device cpu --model tiny for a dry run.")
    if options.model not in (None, "tiny") and not Path(options.model).expanduser().exists():
        raise ConfigError(f"There is no policy at {options.model}; --model names a folder or a GGUF file, or is tiny.")
    machine = Machine(
        options.device, options.model, options.out.absolute(), options.vllm_command, options.vllm_options,
        options.dtype,
    )  # fmt: skip
    parts = parts_of(machine)
    if options.only:
        parts = [part for part in parts if any(word in part.name for word in options.only)]
        if not parts:
            names = ", ".join(part.name for part in parts_of(machine))
            raise ConfigError(f"No part is named {' or '.join(options.only)}; the parts are {names}.")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = run_parts(parts, machine, 60.0 * options.minutes, say=say)
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.stdout.write(table(report))
    if any(report["parts"][part.name]["state"] == "interrupted" for part in parts):
        raise KeyboardInterrupt
    return list(report["not_done"])


def _line() -> CommandLine:
    line = CommandLine(prog="python -m training.gpu_check", description="Measure on one GPU what the documents need.")
    line.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    line.add_argument("--model", metavar="PATH", help="policy of the training parts: a folder, a GGUF file, or tiny")
    line.add_argument("--minutes", type=between(float, 0), default=8.0, help="time for all parts together")
    line.add_argument("--out", type=Path, default=Path("gpu-check"), help="folder of the report and the logs")
    line.add_argument("--only", action="append", metavar="WORD", help="run parts with this word in their names; repeat")
    line.add_argument("--vllm-command", default="vllm", help="vLLM's program, if it is in another environment")
    line.add_argument("--vllm-options", default="", help="extra options of `vllm serve`")
    line.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the policy")
    return line


if __name__ == "__main__":
    sys.exit(main())
