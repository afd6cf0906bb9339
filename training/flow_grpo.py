"""Train the planner inside the running graph.

    python -m training.flow_grpo --config training/recipes/cpu.yaml --out runs/mine --steps 20

The same command goes on where an interrupted run stopped. `--show` prints the settings and ends.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import yaml

from graph.errors import AgentFlowError, ConfigError
from training.config import FlowGRPOConfig, described, load_config
from training.run_folder import claim, held, said
from training.secrecy import without_credentials

if TYPE_CHECKING:
    from rich.progress import TaskID

    from training.records import Rollout

MAY_CHANGE = frozenset(
    {"steps", "keep", "save_every", "report_to", "max_batch", "memory_tokens", "token_budget", "validation_every",
     "vllm_url", "vllm_adapters", "concurrency", "attempts"}
)  # fmt: skip
"""Settings that a resumed run may be given anew; any other would make it another run."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m training.flow_grpo",
        usage="%(prog)s [--config FILE] [--show] [--SETTING VALUE ...]",
        description="Flow-GRPO: train the planner inside the running graph.",
        epilog=f"settings, in the YAML file or after it as --SETTING VALUE, which wins:\n\n{described()}",
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
        from training import ranks

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


def train(config: FlowGRPOConfig) -> None:
    """Runs the training that a configuration describes, from its last checkpoint.

    Raises:
        AgentFlowError: what ended it, in one sentence.
        OSError: the disk is full.
    """
    from training import ranks
    from training.build import make_trainer
    from training.policy_model import quiet

    quiet()
    folder = Path(config.out)
    # Another number of steps would change a schedule that ends with them.
    fixed = set() if config.lr_scheduler.startswith("constant") else {"steps"}
    claim(folder, config.as_dict(), may_change=MAY_CHANGE - fixed)
    progress = ConsoleProgress(config, quiet=ranks.rank() > 0)  # the first process speaks for all
    with held(folder):
        trainer, store = make_trainer(config, progress=progress)
        with progress:
            try:
                trainer.train_from_last_checkpoint(store)
                trainer.save_final()
            except (MemoryError, RuntimeError) as error:
                if not _is_about_memory(error):
                    raise
                raise ConfigError(
                    f"There is not enough memory for a gradient over {config.token_budget} tokens; lower token_budget, "
                    "or turn gradient_checkpointing on. The same command goes on from the last checkpoint."
                ) from error
            finally:
                trainer.close()
    ranks.leave()


def _is_about_memory(error: Exception) -> bool:
    """torch has a class of its own for the memory of GPUs, and a plain RuntimeError for that of the machine."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class ConsoleProgress:
    """A progress bar of steps and rollouts, and a line for every step."""

    def __init__(self, config: FlowGRPOConfig, *, quiet: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True, soft_wrap=True, quiet=quiet)
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
        self._progress = Progress(
            *columns, console=self._console, transient=True, disable=quiet or not self._console.is_terminal
        )
        self._config = config
        self._task: TaskID | None = None
        self._words = ""
        self._rewards: list[float] = []
        self._turns: list[int] = []

    def __enter__(self) -> ConsoleProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def rolling_out(self, step: int, total: int) -> None:
        """A step's rollouts begin."""
        self._rewards, self._turns = [], []
        self._show(f"step {step + 1} of {self._config.steps}: rollouts", total)

    def rolled_out(self, rollout: Rollout) -> None:
        """A rollout has ended."""
        if rollout.reward is not None:
            self._rewards.append(rollout.reward)
            self._turns.append(len(rollout.memory))
        if self._task is not None:
            self._progress.update(self._task, advance=1, description=f"{self._words}{self._so_far()}")

    def updating(self, batches: int) -> None:
        """An update begins."""
        self._show(f"update: {batches} micro-batches", None)

    def logged(self, figures: Mapping[str, float]) -> None:
        """A line for a step or a validation."""
        if "loss" in figures:
            shown = {name: figures[name] for name in _SHOWN if name in figures}
            self._console.print(", ".join(f"{name} {value:.4g}" for name, value in shown.items()), highlight=False)
        elif "eval/pass_rate" in figures:
            self._console.print(
                f"validation: {figures['eval/pass_rate']:.1%} of {figures['eval/rollouts']:.0f} right", highlight=False
            )

    def warned(self, text: str) -> None:
        """An alarm."""
        self._console.print(f"[yellow]warning:[/] {text}", highlight=False)

    def _so_far(self) -> str:
        """What the finished rollouts of the step earned and took; the bar has the seconds."""
        if not self._rewards:
            return ""
        return f", reward {fmean(self._rewards):.2f}, {fmean(self._turns):.1f} turns"

    def _show(self, words: str, total: int | None) -> None:
        self._words = words
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(words, total=total)


_SHOWN = (
    "reward", "pass_rate", "turns", "completion_tokens", "rejected_turns", "failed", "zero_variance", "entropy", "kl",
    "logprob_gap", "grad_norm", "tokens_per_second", "seconds/rollout", "seconds/update",
)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
