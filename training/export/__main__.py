"""Export a trained model: merged and as an adapter in Hub format, with a model card, and as a GGUF file.

    python -m training.export RUN --gguf-adapter --out planner.gguf  # the adapter alone, for the embedded engine
    python -m training.export RUN --out planner                      # the newest checkpoint, merged
    python -m training.export RUN --checkpoint 40 --out planner
    python -m training.export RUN --role executor --out executor     # of a run with an adapter for each role
    python -m training.export RUN --out planner --gguf               # also planner-F16.gguf
    python -m training.export RUN --out planner --gguf Q8_0 --base BASE.gguf

`python -m graph "QUESTION" --planner-model embedded+./planner.gguf` then applies the adapter of a few megabytes to the
embedded model when it plans, `--planner-model ./planner` runs the merged GGUF file, and `vllm serve ./planner` the
model beside it. The adapter is merged in float32. GGUF files of merged models have 16 or 8 bits per weight: fewer
would round off the training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graph.command_line import CommandLine
from graph.errors import ConfigError
from graph.models.download import MODEL_FILES
from graph.models.embedded_files import DEFAULT_MODEL
from training.export.card import agent_options, roles_in, serve_command
from training.export.write import base_file, export, export_adapter, run_settings
from training.run.command import run


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(lambda: _work(_line().parse_args(argv)))


def _work(options: argparse.Namespace) -> None:
    settings = run_settings(options.run)
    if options.role:
        settings["role"] = options.role
    spec = _adapter(options, settings) if options.gguf_adapter else _folder(options)
    if options.gguf_adapter and settings.get("agent"):
        return  # how an agent of one's own names a model is its own affair
    in_process = bool(options.gguf_adapter or options.gguf)
    sys.stdout.write(next_steps(settings, spec, in_process=in_process))


def _folder(options: argparse.Namespace) -> str:
    """Export a folder; returns its spec."""
    out = options.out or options.run / "export"
    export(
        options.run,
        out,
        checkpoint=options.checkpoint,
        role=options.role,
        gguf=options.gguf,
        base=options.base,
        device=options.device,
    )
    sys.stdout.write(f"exported to {out}\n")
    return _spec(out)


def _adapter(options: argparse.Namespace, settings: Mapping[str, Any]) -> str:
    """Export the adapter alone; returns the spec of the base with it."""
    if options.gguf:
        raise ConfigError("--gguf-adapter writes one file, and --gguf a folder; export them one after the other.")
    out = options.out or options.run / f"{'-'.join(roles_in(settings)) or 'policy'}.gguf"
    if out.suffix.lower() != ".gguf":
        raise ConfigError(f"--gguf-adapter writes a file and not a folder; name it, e.g. --out {out}.gguf.")
    base = options.base or base_file(settings)
    export_adapter(options.run, out, checkpoint=options.checkpoint, role=options.role, base=base)
    sys.stdout.write(f"exported to {out} ({out.stat().st_size / 1e6:.1f} MB)\n")
    known = next((file.name for file in MODEL_FILES.values() if file.filename == base.name), None)
    embedded = "embedded" if known == DEFAULT_MODEL else f"embedded:{known or base}"
    return f"{embedded}+{_spec(out)}"


def next_steps(settings: Mapping[str, Any], spec: str, *, in_process: bool) -> str:
    """Commands to use and to measure what was exported, one per line.

    Args:
        settings: of the run.
        spec: of the exported model.
        in_process: whether the agent loads it itself; otherwise it is served.
    """
    ours = not settings.get("agent")
    commands = {} if in_process and ours else {"serve": serve_command(settings, spec)}
    if ours:
        told = agent_options(settings, spec if in_process else "")
        commands |= {"use": f'python -m graph "QUESTION" {told}', "measure": f"python -m evals run own {told}"}
    return "".join(f"{name:<8}{command}\n" for name, command in commands.items())


def _spec(path: Path) -> str:
    """A path as `--planner-model` and its like take it."""
    return str(path) if "/" in str(path) else f"./{path}"


def _line() -> CommandLine:
    from training.export.gguf import KINDS

    line = CommandLine(prog="python -m training.export", description="Export a trained model.")
    line.add_argument("run", type=Path, help="folder of a run of training.flow_grpo or training.sft")
    line.add_argument("--checkpoint", type=int, metavar="N", help="checkpoint number; default: the newest")
    line.add_argument("--role", metavar="NAME", help="whose adapter, if each role has its own")
    line.add_argument("--out", type=Path, metavar="PATH", help="output folder or file; default: in RUN")
    line.add_argument(
        "--gguf", nargs="?", const="F16", choices=KINDS, help="also write a GGUF file with this weight type (F16)"
    )
    line.add_argument(
        "--gguf-adapter", action="store_true", help="write the LoRA adapter alone, as a GGUF file of a few MB"
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
