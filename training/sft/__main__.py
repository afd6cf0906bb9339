"""Fine-tune on the planner turns of successful rollouts: the paper's supervised baseline (section 4.4).

    python -m training.sft --rollouts runs/mine --model PATH.gguf --out runs/sft
    python -m training.sft --config FILE [--setting value ...]

The sampled token ids are learned as they are; only the planner's own carry loss. The result is a run's folder like any
other, for `python -m training.export runs/sft` and `training.validate --checkpoint runs/sft`. The same command
continues an interrupted run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from training.run.command import FROM_CHECKPOINT, run, settings_line
from training.run.settings import load_settings, shown_settings
from training.sft.config import GROUPS, SFTSettings
from training.sft.train import train


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    line = settings_line(
        "python -m training.sft", "Fine-tune on the planner turns of successful rollouts.", SFTSettings, GROUPS
    )
    return run(lambda: _work(line.parse_args(argv)), interrupted=FROM_CHECKPOINT)


def _work(options: argparse.Namespace) -> None:
    if options.show:
        sys.stdout.write(shown_settings(SFTSettings, options.config, options.settings))
    else:
        train(load_settings(SFTSettings, options.config, options.settings))


if __name__ == "__main__":
    sys.exit(main())
