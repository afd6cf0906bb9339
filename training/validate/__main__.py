"""Measure a policy on held-out tasks, and compare two measurements.

    python -m training.validate --config FILE --out before        # the untrained model
    python -m training.validate --config FILE --checkpoint runs/mine --out after
    python -m training.validate --compare before after
    python -m training.validate --config FILE --max_turns 1,2,3,5,8 --out limits [--against OTHER]

`--checkpoint` is a run's folder (its newest checkpoint), one checkpoint, or an adapter. Settings are those of
training.flow_grpo (`validation`, `validation_temperature`, ...) and can follow as --setting value. The policy samples
in this process, in the same agent and with the same prompts as in training. Several turn limits make a sweep: a
measurement for each, one figure and one table. An interrupted command continues where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evals.reports.sweep import sweep_text
from graph.command_line import CommandLine, between
from graph.errors import ConfigError
from tools.counts import many
from training.flow_grpo.config import FlowGRPOConfig, load_config
from training.rollouts.breakdown import PARTS
from training.run.alarms import out_of_time
from training.run.command import add_settings, run
from training.run.folder import read_settings
from training.run.settings import MOST_OF_A_TASK
from training.validate.compare import comparison, label
from training.validate.measure import several_roles, stored_rollouts, summary, validate
from training.validate.sweep import sweep


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(lambda: _work(_line().parse_args(argv)), interrupted="the same command continues where it stopped")


def _work(options: argparse.Namespace) -> None:
    if options.compare:
        sys.stdout.write(comparison(*options.compare))
        return
    if "out" not in options.settings:
        raise ConfigError("The option --out is missing: a folder for the rollouts and the summary.")
    if "," in str(options.settings.get("max_turns", "")):
        curves = sweep(
            options.config, options.settings, options.checkpoint, samples=options.samples, against=options.against
        )
        sys.stdout.write(sweep_text(curves))
        return
    if options.against:
        raise ConfigError(
            "--against names another sweep, and this is none; give several limits, --max_turns 1,2,3,5,8."
        )
    config = load_config(options.config, options.settings)
    validate(config, options.checkpoint, samples=options.samples)
    sys.stdout.write(described(Path(config.out)))


def _line() -> CommandLine:
    line = CommandLine(
        prog="python -m training.validate",
        usage="%(prog)s --config FILE --out FOLDER [options] [--SETTING VALUE ...]\n       %(prog)s --compare A B",
        description="Measure a policy on held-out tasks.",
        epilog="--out is the folder for rollouts and summary. Every setting of training.flow_grpo is an option.",
    )
    line.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FOLDER",
        help="a run, a checkpoint or an adapter; default: the untrained model",
    )
    line.add_argument(
        "--samples", type=between(int, 1, MOST_OF_A_TASK), default=1, metavar="N", help="runs of each task"
    )
    line.add_argument("--against", type=Path, metavar="FOLDER", help="another sweep, drawn beside this one")
    line.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="compare two measurements, B with A")
    add_settings(line, FlowGRPOConfig)
    return line


def described(folder: Path) -> str:
    """A measurement as text."""
    rollouts = list(stored_rollouts(folder).values())
    figures = summary(rollouts)
    settings = read_settings(folder)
    low, high = figures["solved_interval"]
    size = f"{many(figures['tasks'], 'task')}, {many(figures['runs'], 'run')}"
    lines = [f"{settings['checkpoint'] or settings['model']}: {size}"]
    for name in (name for name in PARTS if name in figures):
        interval = f"  (95 % interval {low:.1%} to {high:.1%})" if name == "solved" else ""
        lines.append(f"{label(name):<14} {figures[name]:6.1%}{interval}")
    for family, part in sorted(figures["families"].items()):
        lines.append(f"  {family:<12} {part['solved']:6.1%}  of {part['runs']}")
    measured = figures["figures"]
    for role in several_roles(rollouts):
        words = f"asked in {measured[f'acted/{role}']:.0%} of the runs"
        if f"turns/{role}" in measured:
            turns, tokens, cut = (measured[f"{name}/{role}"] for name in ("turns", "completion_tokens", "cut_off"))
            words += f", {turns:.1f} turns a run, {tokens:.0f} tokens a reply, {cut:.0%} cut off"
        lines.append(f"{role:<14} {words}")
    if why := out_of_time(measured.get("ended_by/time", 0.0)):
        lines.append(why)
    if failed := figures["figures"]["failed"]:
        lines.append(
            f"{many(int(failed), 'run')} failed because of a server or service, counted as wrong; the same command "
            "tries again"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
