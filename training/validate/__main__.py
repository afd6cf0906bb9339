"""Measure a policy on held-out tasks, and compare two measurements.

    python -m training.validate --config FILE --out before        # the model as it was
    python -m training.validate --config FILE --checkpoint runs/mine --out after
    python -m training.validate --compare before after

`--checkpoint` is a run's folder (its newest checkpoint), one checkpoint, or an adapter. Settings are those of
training.flow_grpo (`validation`, `validation_temperature`, ...) and can follow as --setting value. The policy samples
in this process, in the same agent and with the same prompts as in training. An interrupted command goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from graph.errors import AgentFlowError, ConfigError
from training.flow_grpo.config import load_config
from training.rollouts.breakdown import PARTS
from training.run.folder import read_settings, said
from training.validate.compare import comparison, label
from training.validate.measure import stored_rollouts, summary, validate


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options, pairs = _parser().parse_known_args(argv)
    try:
        if options.compare:
            sys.stdout.write(comparison(*options.compare))
            return 0
        if options.out is None:
            raise ConfigError("The option --out is missing: a folder for the rollouts and the summary.")
        config = load_config(options.config, [*pairs, "--out", str(options.out)])
        validate(config, options.checkpoint, samples=options.samples)
        sys.stdout.write(described(options.out))
    except AgentFlowError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"error: {said(error, options.out)}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on where it stopped\n")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.validate",
        description="Measure a policy on held-out tasks.",
        epilog="Any setting of training.flow_grpo.config.FlowGRPOConfig can follow as --setting value.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of settings, e.g. a run's config.yaml")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FOLDER", help="a run, a checkpoint or an adapter; default: the bare model"
    )
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="runs of each task")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where rollouts and summary go")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="two such folders, B against A")
    return parser


def described(folder: Path) -> str:
    """A measurement for people."""
    found = summary(list(stored_rollouts(folder).values()))
    settings = read_settings(folder)
    low, high = found["solved_interval"]
    lines = [f"{settings['checkpoint'] or settings['model']}: {found['tasks']} tasks, {found['runs']} runs"]
    for name in (name for name in PARTS if name in found):
        interval = f"  (95 % interval {low:.1%} to {high:.1%})" if name == "solved" else ""
        lines.append(f"{label(name):<14} {found[name]:6.1%}{interval}")
    for family, part in sorted(found["families"].items()):
        lines.append(f"  {family:<12} {part['solved']:6.1%}  of {part['runs']}")
    if failed := found["figures"]["failed"]:
        lines.append(
            f"{failed} runs failed with their surroundings and count as wrong; the same command tries them again"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
