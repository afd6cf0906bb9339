"""The outcome of a run: its validations, first against last and paired by task, and where its time went.

python -m training.summary RUN
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from evals.reports.intervals import bootstrap
from graph.command_line import CommandLine
from graph.errors import DataError
from tools.counts import many
from training.rollouts.records import Rollout
from training.rollouts.store import read_rollouts
from training.run.alarms import out_of_time
from training.run.command import run
from training.run.metrics import read_metrics

_WINDOW = 10
"""Number of steps at the start and at the end over which the reward is averaged."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    line = CommandLine(prog="python -m training.summary", description="Sum up a run.")
    line.add_argument("run", type=Path, help="a run's folder")
    return run(lambda: sys.stdout.write(summary(line.parse_args(argv).run) + "\n"))


def summary(folder: Path) -> str:
    """The outcome of a run in a few lines.

    Raises:
        DataError: the folder holds no metrics.
    """
    lines = read_metrics(folder / "metrics.jsonl")
    steps = [line for line in lines if "loss" in line]
    if not steps:
        raise DataError(f"{folder} holds no step yet.")
    trained = sum(step.get("tokens/trained", 0) for step in steps)
    outcome = [
        f"{many(len(steps), 'update')}, {trained:,.0f} tokens with loss",
        _reward(steps),
        *_validated(folder / "validations"),
    ]
    outcome += [_speed(steps), _time(steps, [line for line in lines if "eval/seconds" in line])]
    return "\n".join(line for line in outcome if line)


def _reward(steps: Sequence[Mapping[str, float]]) -> str:
    count = min(_WINDOW, max(1, len(steps) // 2))
    rewards = [step["reward"] for step in steps if "reward" in step]
    if not rewards:  # a supervised run
        return ""
    first, last = fmean(rewards[:count]), fmean(rewards[-count:])
    return f"reward {first:.3f} in the first {many(count, 'update')}, {last:.3f} in the last {count}"


def _validated(folder: Path) -> list[str]:
    """The held-out tasks, before and after; failures of servers and services count as wrong."""
    if not any(folder.glob("*.jsonl")):
        return []
    by_update: dict[int, dict[str, float]] = {}
    out_of_time_by: dict[int, list[bool]] = {}
    for rollout in read_rollouts(folder):
        by_update.setdefault(rollout.step, {})[rollout.task.id] = _right(rollout)
        out_of_time_by.setdefault(rollout.step, []).append(rollout.ended_by == "time")
    if not by_update:
        return []
    first, last = min(by_update), max(by_update)
    why = list(filter(None, [out_of_time(fmean(out_of_time_by[last]))]))
    before, after = by_update[first], by_update[last]
    shared = sorted(set(before) & set(after))
    first_line = f"held-out tasks: {fmean(before.values()):.1%} of {len(before)} right after update {first}"
    if first == last or not shared:
        return [first_line, *why]
    differences = np.array([after[task] - before[task] for task in shared])
    low, high = bootstrap(differences, 0)
    interval = f"{differences.mean():+.1%} (paired, 95 % interval {low:+.1%} to {high:+.1%})"
    return [f"{first_line}, {fmean(after.values()):.1%} after update {last}: {interval}", *why]


def _right(rollout: Rollout) -> float:
    return float(rollout.rewards.get("outcome", rollout.reward or 0.0) >= 1.0)


def _speed(steps: Sequence[Mapping[str, float]]) -> str:
    sampled = [step["tokens_per_second"] for step in steps if "tokens_per_second" in step]
    updates = [
        step["tokens/rows"] / step["seconds/update"]
        for step in steps
        if step.get("seconds/update") and "tokens/rows" in step
    ]
    rates = {"sampled while rolling out": sampled, "of rows in the update": updates}
    return ", ".join(f"{fmean(rate):,.0f} tokens/s {what}" for what, rate in rates.items() if rate)


def _time(steps: Sequence[Mapping[str, float]], validations: Sequence[Mapping[str, float]]) -> str:
    """Seconds by phase, over the whole run."""
    phases: dict[str, float] = {}
    for step in steps:
        for name, value in step.items():
            if name.startswith("seconds/"):
                phases[name.removeprefix("seconds/")] = phases.get(name.removeprefix("seconds/"), 0.0) + value
    if validations:
        phases["validation"] = sum(line["eval/seconds"] for line in validations)
    shares = sorted(phases.items(), key=lambda phase: -phase[1])
    return "seconds: " + ", ".join(f"{name} {seconds:,.1f}" for name, seconds in shares)


if __name__ == "__main__":
    sys.exit(main())
