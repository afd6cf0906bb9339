"""Export a trained model: merged and as an adapter in Hub format, with a model card, and as a GGUF file.

    python -m training.export RUN --out planner                   # the newest checkpoint
    python -m training.export RUN --checkpoint 40 --out planner
    python -m training.export RUN --role executor --out executor  # of a run with an adapter for each role
    python -m training.export RUN --out planner --gguf            # also planner-F16.gguf, for the embedded engine
    python -m training.export RUN --out planner --gguf Q8_0 --base BASE.gguf

`python -m graph "QUESTION" --planner-model ./planner` then runs the GGUF file, `vllm serve ./planner` the model beside
it. The adapter is merged in float32. GGUF files have 16 or 8 bits per weight: fewer would round off the training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graph.command_line import CommandLine
from training.export.card import agent_options, serve_command
from training.export.write import export, run_settings
from training.run.command import run


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(lambda: _work(_line().parse_args(argv)))


def _work(options: argparse.Namespace) -> None:
    out = options.out or options.run / "export"
    gguf = export(
        options.run,
        out,
        checkpoint=options.checkpoint,
        role=options.role,
        gguf=options.gguf,
        base=options.base,
        device=options.device,
    )
    sys.stdout.write(f"exported to {out}\n")
    settings = run_settings(options.run)
    if options.role:
        settings["role"] = options.role
    sys.stdout.write(next_steps(settings, _spec(out), in_process=gguf is not None))


def next_steps(settings: Mapping[str, Any], folder: str, *, in_process: bool) -> str:
    """Commands to use and to measure what was exported, one per line.

    Args:
        settings: of the run.
        folder: as a model's spec.
        in_process: whether the agent loads it itself; otherwise it is served.
    """
    ours = not settings.get("agent")
    commands = {} if in_process and ours else {"serve": serve_command(settings, folder)}
    if ours:
        told = agent_options(settings, folder if in_process else "")
        commands |= {"use": f'python -m graph "QUESTION" {told}', "measure": f"python -m evals run own {told}"}
    return "".join(f"{name:<8}{command}\n" for name, command in commands.items())


def _spec(folder: Path) -> str:
    """The folder as `--planner-model` and its like take it."""
    return str(folder) if "/" in str(folder) else f"./{folder}"


def _line() -> CommandLine:
    from training.export.gguf import KINDS

    line = CommandLine(prog="python -m training.export", description="Export a trained model.")
    line.add_argument("run", type=Path, help="folder of a run of training.flow_grpo or training.sft")
    line.add_argument("--checkpoint", type=int, metavar="N", help="checkpoint number; default: the newest")
    line.add_argument("--role", metavar="NAME", help="whose adapter, if each role has its own")
    line.add_argument("--out", type=Path, metavar="FOLDER", help="output folder; default: RUN/export")
    line.add_argument(
        "--gguf", nargs="?", const="F16", choices=KINDS, help="also write a GGUF file with this weight type (F16)"
    )
    line.add_argument(
        "--base", type=Path, metavar="FILE", help="GGUF file of the base model, if the run did not train a GGUF file"
    )
    line.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where it is merged (default: the GPU if it fits)",
    )
    return line


if __name__ == "__main__":
    sys.exit(main())
