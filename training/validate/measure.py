"""Measures a policy on held-out tasks, in the agent it was trained in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from evals.loop_thread import run_on_thread
from evals.reports.intervals import wilson
from evals.task import Task
from graph.errors import ConfigError
from training.flow_grpo.config import RESUMABLE, FlowGRPOConfig
from training.rollouts.breakdown import breakdown, is_solved
from training.rollouts.figures import step_metrics
from training.rollouts.records import Rollout
from training.rollouts.store import read_rollouts
from training.run import checkpoints
from training.run.folder import ROLLOUTS, claimed
from training.run.heartbeat import heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator


SUMMARY = "summary.json"


def validate(config: FlowGRPOConfig, checkpoint: Path | None, *, samples: int = 1) -> list[Rollout]:
    """Runs every held-out task, stores the rollouts in `config.out`, and writes the summary.

    Args:
        config: the settings.
        checkpoint: see `checkpoints.weights_of`; None measures the untrained model.
        samples: runs of each task, each with its own seed.

    Raises:
        AgentFlowError: a setting or the checkpoint cannot be used, or every run would fail alike.
        OSError: the folder is not writable.
    """
    weights = checkpoints.weights_of(checkpoint) if checkpoint else None
    folder = Path(config.out)
    settings = {
        **config.as_dict(),
        "checkpoint": str(weights) if weights else None,
        "samples": samples,
        "command": "training.validate",
    }
    with claimed(folder, settings, resumable=RESUMABLE):
        return _measured(config, weights, samples)


def _measured(config: FlowGRPOConfig, weights: Path | None, samples: int) -> list[Rollout]:
    from training.flow_grpo.build import make_validator  # which imports torch

    folder = Path(config.out)
    collector, engine, store, tasks = make_validator(config, weights, samples=samples)
    store.repair(0)
    stored = stored_rollouts(folder) if (folder / ROLLOUTS).is_dir() else {}
    _refuse_other_tasks(stored.values(), tasks, folder)
    done = {name for name, rollout in stored.items() if rollout.failure is None}
    missing = {task.id: len(collector.missing(0, task, done)) for task in tasks}
    left = [task for task in tasks if missing[task.id]]

    async def collect() -> list[Rollout]:
        try:
            return await collector.collect(0, left, on_rollout=count, done=done) if left else []
        finally:
            await engine.aclose()

    with _progress(sum(missing.values())) as count:
        stored |= {rollout.id: rollout for rollout in run_on_thread(collect())}
    place = {task.id: number for number, task in enumerate(tasks)}
    rollouts = sorted(stored.values(), key=lambda rollout: (place[rollout.task.id], rollout.index))
    _write(folder / SUMMARY, summary(rollouts))
    return rollouts


def _refuse_other_tasks(stored: Iterable[Rollout], tasks: Sequence[Task], folder: Path) -> None:
    prompts = {task.id: task.prompt for task in tasks}
    for rollout in stored:
        if prompts.get(rollout.task.id) != rollout.task.prompt:
            raise ConfigError(
                f"{folder} measures other tasks: {rollout.task.id!r} is no task of `validation` any more, or asks "
                "something else; choose another --out."
            )


def summary(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """The figures of a measurement: pass rate with interval, its parts, task families, and `step_metrics`."""
    tasks = len({rollout.task.id for rollout in rollouts})
    parts = breakdown(rollouts)
    by_family: dict[str, list[bool]] = {}
    for rollout in rollouts:
        if family := rollout.task.metadata.get("family"):
            by_family.setdefault(str(family), []).append(is_solved(rollout))
    return {
        "tasks": tasks,
        "runs": len(rollouts),
        **parts,
        "solved_interval": wilson(parts["solved"], tasks),
        "families": {family: {"solved": fmean(solved), "runs": len(solved)} for family, solved in by_family.items()},
        "figures": step_metrics(rollouts, version=0, roles=several_roles(rollouts)),
    }


def several_roles(rollouts: Sequence[Rollout]) -> list[str]:
    """The roles that the policy played, if there are several."""
    roles = sorted({turn.role for rollout in rollouts for turn in rollout.turns})
    return roles if len(roles) > 1 else []


def stored_rollouts(folder: Path) -> dict[str, Rollout]:
    """The stored rollouts by id."""
    return {rollout.id: rollout for rollout in read_rollouts(folder / ROLLOUTS)}


def _write(path: Path, value: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Rollout], None]]:
    """A progress bar with the pass rate so far, on standard error; in a log, a line now and then."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    solved: list[bool] = []

    def rate() -> str:
        return f", {fmean(solved):.0%} solved" if solved else ""

    def line() -> str:
        return f"held-out tasks: {len(solved)} of {total}{rate()}"

    with (
        Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
        heartbeat(line),
    ):
        task = bar.add_task("held-out tasks", total=total)

        def count(rollout: Rollout) -> None:
            solved.append(is_solved(rollout))
            bar.update(task, advance=1, description=f"held-out tasks{rate()}")

        yield count
