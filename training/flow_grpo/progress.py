"""Progress of a training run: the protocol, and the console."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final, Protocol

from tools.counts import many
from tools.secrecy import without_credentials
from training.flow_grpo.config import HTTP, FlowGRPOConfig
from training.rollouts.records import Rollout
from training.rollouts.time_spent import time_in_words
from training.run.alarms import out_of_time

if TYPE_CHECKING:
    from rich.progress import TaskID

LOG_FIRST: Final = 5.0
"""Seconds of silence after which a log is told what is going on."""
LOG_EVERY: Final = 60.0
"""Seconds after which it is told that this is still going on."""


@dataclass(frozen=True)
class RunFacts:
    """Facts about a run at its start, beside the settings."""

    weights: int
    """Number of weights of the policy, including an adapter."""
    trained: int
    """Number of trained weights."""
    tasks: int
    held_out: int
    device: str
    """Device of the first process."""
    processes: int
    engine: str
    """The one that samples, where the settings leave the choice open."""
    updates: int
    """Made before, by a run that goes on."""
    memory: str
    """The size of micro-batches, and the memory planned for it."""


class Progress(Protocol):
    """Receives the progress of a run."""

    def started(self, facts: RunFacts) -> None:
        """The first step starts."""

    def rolling_out(self, step: int, total: int) -> None:
        """The rollouts of a step start."""

    def validating(self, update: int, total: int) -> None:
        """The rollouts of a validation start, after an update."""

    def rolled_out(self, rollout: Rollout) -> None:
        """A rollout has ended."""

    def updating(self, batches: int) -> None:
        """An update starts."""

    def logged(self, update: int, figures: Mapping[str, float]) -> None:
        """The figures of an update, or of a validation after it."""

    def warned(self, text: str) -> None:
        """An alarm."""


class ConsoleProgress:
    """Prints a banner, a progress bar of rollouts, and a line per update to standard error.

    Where there is no terminal, indented lines now and then take the place of the bar.
    """

    def __init__(self, config: FlowGRPOConfig, *, quiet: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True, soft_wrap=True, quiet=quiet, highlight=False, markup=False)
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
        self._progress = Progress(
            *columns, console=self._console, transient=True, disable=quiet or not self._console.is_terminal
        )
        self._config = config
        self._task: TaskID | None = None
        self._title = ""
        self._rewards: list[float] = []
        self._turns: list[int] = []
        self._began = time.monotonic()
        self._first_update = 0
        self._memory_shown = False
        self._done = self._total = 0
        self._shown_at = self._title_at = time.monotonic()
        self._told = ""
        self._ended = threading.Event()

    def __enter__(self) -> ConsoleProgress:
        self._progress.start()
        self._show("loading the model, the tools and the tasks", None)
        if not (self._console.quiet or self._console.is_terminal):
            threading.Thread(target=self._repeat, name="log", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._progress.stop()

    def _repeat(self) -> None:
        while not self._ended.wait(1.0):
            self.tell_again()

    def tell_again(self) -> None:
        """Write a line if the log has been silent for too long."""
        now = time.monotonic()
        if now - self._shown_at < (LOG_EVERY if self._told == self._title else LOG_FIRST):
            return
        self._told = self._title
        counted = f" {self._done} of {self._total}" if self._total else ""
        self._print(f"  {self._title}{counted}{self._so_far()}, {in_words(now - self._title_at)}")

    def _print(self, text: str) -> None:
        self._shown_at = time.monotonic()
        self._console.print(text)

    def started(self, facts: RunFacts) -> None:
        """Prints the banner."""
        self._began, self._first_update = time.monotonic(), facts.updates
        self._print(banner(self._config, facts))

    def rolling_out(self, step: int, total: int) -> None:
        """The rollouts of a step start."""
        self._count(f"step {step + 1} of {self._config.steps}: rollouts", total)

    def validating(self, update: int, total: int) -> None:
        """The rollouts of a validation start."""
        self._count("validation", total)

    def rolled_out(self, rollout: Rollout) -> None:
        """A rollout has ended."""
        self._done += 1
        if rollout.reward is not None:
            self._rewards.append(rollout.reward)
            self._turns.append(len(rollout.memory))
        if self._task is not None:
            self._progress.update(self._task, advance=1, description=f"{self._title}{self._so_far()}")
            [bar] = [task for task in self._progress.tasks if task.id == self._task]
            if bar.total is not None and bar.completed > bar.total:  # groups were replaced
                self._progress.update(self._task, total=bar.completed)

    def updating(self, batches: int) -> None:
        """An update starts."""
        self._show(f"update: {many(batches, 'micro-batch', 'micro-batches')}", None)

    def logged(self, update: int, figures: Mapping[str, float]) -> None:
        """Prints a line for an update or a validation."""
        if "loss" in figures:
            shown = ", ".join(f"{name} {figures[name]:.4g}" for name in _SHOWN if name in figures)
            if not self._memory_shown and "memory/planned_gib" in figures:
                peak, planned = figures["memory/peak_gib"], figures["memory/planned_gib"]
                shown += f", memory {peak:.1f} GiB at its peak ({planned:.1f} planned)"
                self._memory_shown = True
            self._print(f"{self._place(update)}: {shown}")
            if where := time_in_words(figures):
                self._print(f"  {where}")
        elif "eval/pass_rate" in figures:
            rate, tasks = figures["eval/pass_rate"], figures["eval/rollouts"]
            self._print(f"validation after update {update}: {rate:.1%} of {tasks:.0f} right")
            if why := out_of_time(figures.get("eval/ended_by/time", 0.0)):
                self._print(f"  {why}")

    def warned(self, text: str) -> None:
        """An alarm."""
        self._console.print("[yellow]warning:[/] ", end="", markup=True)
        self._console.print(text)

    def _place(self, update: int) -> str:
        """The number of the step, and an estimate of the remaining time."""
        per_step, total = self._config.updates_per_step, self._config.steps * self._config.updates_per_step
        place = f"step {(update - 1) // per_step + 1} of {self._config.steps}"
        if per_step > 1:
            place += f", update {(update - 1) % per_step + 1} of {per_step}"
        seconds = (time.monotonic() - self._began) / max(1, update - self._first_update) * (total - update)
        return f"{place}, {in_words(seconds)} left" if update < total else place

    def _so_far(self) -> str:
        """Mean reward and turns of the finished rollouts."""
        if not self._rewards:
            return ""
        return f", reward {fmean(self._rewards):.2f}, {fmean(self._turns):.1f} turns"

    def _count(self, title: str, total: int) -> None:
        self._rewards, self._turns = [], []
        self._show(title, total)

    def _show(self, title: str, total: int | None) -> None:
        self._title, self._title_at = title, time.monotonic()
        self._done, self._total = 0, total or 0
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(title, total=total)


def banner(config: FlowGRPOConfig, facts: RunFacts) -> str:
    """What is about to be trained, on what and where: six lines, one more for the user's own agent."""
    adapter = f"a LoRA adapter of rank {config.lora_rank}"
    if config.adapters:
        adapter += f" each for {' and '.join(config.adapters)}"
    share = f"{adapter}, {_count(facts.trained)} weights" if config.lora_rank else "all weights"
    held_out = f", {facts.held_out} held out" if facts.held_out else ""
    processes = f", {facts.processes} processes" if facts.processes > 1 else ""
    engine = f"{facts.engine} at {config.vllm_url}" if config.vllm_url else facts.engine
    before = f" (resumed after update {facts.updates})" if facts.updates else ""
    lines = {
        "model": f"{config.model}, {_count(facts.weights)} weights in {config.dtype}; trained: {share}",
        **_agent(config),
        "tasks": f"{facts.tasks} of {config.tasks}{held_out}",
        "steps": f"{config.steps} of {many(config.tasks_per_step, 'task')} x {many(config.group_size, 'run')}{before}",
        "device": f"{facts.device}{processes}; engine: {engine}",
        "memory": facts.memory,
        "folder": config.out,
    }
    return without_credentials("\n".join(f"{name:<8}{text}" for name, text in lines.items()))


def _agent(config: FlowGRPOConfig) -> dict[str, str]:
    """The agent, where it is not ours."""
    if config.agent == HTTP:
        return {"agent": f"{config.agent_command or config.agent_url}, over HTTP at {config.agent_listen}"}
    return {"agent": config.agent} if config.agent else {}


def next_steps(config: FlowGRPOConfig) -> str:
    """Commands to measure, export and look at the trained policy, one per line."""
    held_out = "" if config.validation else " --validation FILE"
    out = Path(config.out)
    role = f" --role {config.adapters[0]}" if config.adapters else ""
    commands = {
        "measure": f"python -m training.validate --config {out}/config.yaml --checkpoint {out}{held_out} "
        f"--out {out}-measured",
        "export": f"python -m training.export {out}{role} --out {out}-exported",
        "look": f"python -m evals view {out}",
    }
    return "\n".join(f"{name:<8}{command}" for name, command in commands.items())


def in_words(seconds: float) -> str:
    """A duration, rounded."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _count(number: int) -> str:
    """A number of weights, to three significant digits."""
    for size, unit in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


_SHOWN = (
    "reward", "pass_rate", "turns", "completion_tokens", "rejected_turns", "failed_turns", "failed", "zero_variance",
    "skipped_update", "entropy", "kl", "logprob_gap", "grad_norm", "tokens_per_second", "seconds/rollout",
    "seconds/update",
)  # fmt: skip
