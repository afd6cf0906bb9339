"""Fine-tune on the planner turns of successful rollouts: the paper's supervised baseline (section 4.4).

    python -m training.sft --rollouts runs/mine --model PATH.gguf --out runs/sft
    python -m training.sft --config FILE [--setting value ...]

TRL's `SFTTrainer` on the very token ids that were sampled; only the planner's own tokens carry loss. What it leaves is
a run's folder like any other, for `python -m training.export runs/sft` and `training.validate --checkpoint runs/sft`.
The same command goes on where an interrupted run stopped.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from graph.errors import AgentFlowError
from training.run.folder import said
from training.run.secrecy import without_credentials
from training.run.settings import (
    described,
    load_settings,
)
from training.sft.config import GROUPS, SFTSettings
from training.sft.train import train


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m training.sft",
        usage="%(prog)s [--config FILE] [--SETTING VALUE ...]",
        description="Fine-tune on the planner turns of successful rollouts.",
        epilog="settings, in the YAML file or after it as --SETTING VALUE, which wins:\n\n"
        + described(SFTSettings, GROUPS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of settings")
    options, pairs = parser.parse_known_args(argv)
    try:
        train(load_settings(SFTSettings, options.config, pairs))
    except AgentFlowError as error:
        sys.stderr.write(f"error: {without_credentials(str(error))}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"error: {said(error, options.config)}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on from the last checkpoint\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
