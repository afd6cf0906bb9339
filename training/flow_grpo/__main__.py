"""Train the planner inside the running graph.

    python -m training.flow_grpo --config training/recipes/cpu.yaml --out runs/mine --steps 20

The same command continues an interrupted run. `--show` prints the settings and exits.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from training.flow_grpo.config import GROUPS, FlowGRPOConfig, load_config
from training.flow_grpo.launch import train
from training.flow_grpo.progress import next_steps
from training.run import ranks
from training.run.command import FROM_CHECKPOINT, run, settings_line
from training.run.settings import shown_settings
from training.summary import summary


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    line = settings_line(
        "python -m training.flow_grpo",
        "Flow-GRPO: train the planner inside the running graph.",
        FlowGRPOConfig,
        GROUPS,
    )
    return run(lambda: _work(line.parse_args(argv)), interrupted=FROM_CHECKPOINT)


def _work(options: argparse.Namespace) -> None:
    if options.show:
        sys.stdout.write(shown_settings(FlowGRPOConfig, options.config, options.settings))
        return
    config = load_config(options.config, options.settings)
    train(config)
    if ranks.rank() == 0:
        sys.stdout.write(summary(Path(config.out)) + "\n")
        sys.stderr.write(next_steps(config) + "\n")


if __name__ == "__main__":
    sys.exit(main())
