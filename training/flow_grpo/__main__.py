"""Train the planner inside the running graph.

    python -m training.flow_grpo --config training/recipes/cpu.yaml --out runs/mine --steps 20

The same command goes on where an interrupted run stopped. `--show` prints the settings and ends.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from graph.errors import AgentFlowError
from training.flow_grpo.config import GROUPS, FlowGRPOConfig, load_config
from training.flow_grpo.train import train
from training.run.folder import said
from training.run.secrecy import without_credentials
from training.run.settings import described


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m training.flow_grpo",
        usage="%(prog)s [--config FILE] [--show] [--SETTING VALUE ...]",
        description="Flow-GRPO: train the planner inside the running graph.",
        epilog="settings, in the YAML file or after it as --SETTING VALUE, which wins:\n\n"
        + described(FlowGRPOConfig, GROUPS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of settings")
    parser.add_argument("--show", action="store_true", help="print the settings and end")
    options, pairs = parser.parse_known_args(argv)
    try:
        config = load_config(options.config, pairs)
        if options.show:
            sys.stdout.write(without_credentials(yaml.safe_dump(config.as_dict(), sort_keys=False)))
            return 0
        train(config)
        from training.run import ranks

        if ranks.rank() == 0:
            from training.summary import summary

            sys.stdout.write(summary(Path(config.out)) + "\n")
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
