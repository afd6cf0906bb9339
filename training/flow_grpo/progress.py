"""Progress of a training run: the protocol, and its rendering on a console."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Protocol

from training.flow_grpo.config import FlowGRPOConfig
from training.rollouts.background import Listener
from training.rollouts.records import Rollout

if TYPE_CHECKING:
    from rich.progress import TaskID


class Progress(Listener, Protocol):
    """What hears how a run goes."""

    def updating(self, batches: int) -> None:
        """An update of so many micro-batches begins."""

    def logged(self, figures: Mapping[str, float]) -> None:
        """A step's figures."""

    def warned(self, text: str) -> None:
        """An alarm."""


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
