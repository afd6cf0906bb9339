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
import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from evals.compare import RESAMPLES, bootstrap
from evals.metrics import wilson
from graph.errors import AgentFlowError, ConfigError, DataError
from training import checkpoints
from training.breakdown import PARTS, breakdown, is_solved, parts_of
from training.build import ROLLOUTS, make_validator
from training.config import FlowGRPOConfig, load_config
from training.flow_grpo import MAY_CHANGE
from training.metrics import step_metrics
from training.records import Rollout
from training.run_folder import claim, read_settings, said
from training.store import read_rollouts

if TYPE_CHECKING:
    from collections.abc import Iterator

SUMMARY = "summary.json"


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
        epilog="Any setting of training.config.FlowGRPOConfig can follow as --setting value.",
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


def validate(config: FlowGRPOConfig, checkpoint: Path | None, *, samples: int = 1) -> list[Rollout]:
    """Runs each held-out task, stores the rollouts in `config.out`, and writes the summary.

    Args:
        config: the settings.
        checkpoint: see `checkpoints.weights_of`; None measures the model as it was.
        samples: runs of each task, with seeds of their own.

    Raises:
        AgentFlowError: a setting or the checkpoint cannot be used, or what every run would meet.
        OSError: the folder cannot be written.
    """
    if samples < 1:
        raise ConfigError(f"--samples is {samples}; it must be at least 1.")
    weights = checkpoints.weights_of(checkpoint) if checkpoint else None
    folder = Path(config.out)
    collector, engine, store, tasks = make_validator(config, weights, samples=samples)
    settings = {
        **config.as_dict(),
        "checkpoint": str(weights) if weights else None,
        "samples": samples,
        "command": "training.validate",
    }
    claim(folder, settings, may_change=MAY_CHANGE)
    store.mend(0)
    known = _stored(folder) if (folder / ROLLOUTS).is_dir() else {}
    done = {rollout.task.id for rollout in known.values() if rollout.failure is None}
    left = [task for task in tasks if task.id not in done]

    async def collect() -> list[Rollout]:
        try:
            return await collector.collect(0, left, on_rollout=count) if left else []
        finally:
            await engine.aclose()

    with _progress(len(left) * samples) as count:
        known |= {rollout.id: rollout for rollout in asyncio.run(collect())}
    place = {task.id: number for number, task in enumerate(tasks)}
    rollouts = sorted(known.values(), key=lambda rollout: (place[rollout.task.id], rollout.index))
    _write(folder / SUMMARY, summary(rollouts))
    return rollouts


def summary(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """A measurement in figures: the pass rate with its interval, its parts, families of tasks, and `step_metrics`."""
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
        "families": {family: {"solved": fmean(found), "runs": len(found)} for family, found in by_family.items()},
        "figures": step_metrics(rollouts, version=0),
    }


def described(folder: Path) -> str:
    """A measurement for people."""
    found = summary(list(_stored(folder).values()))
    settings = read_settings(folder)
    low, high = found["solved_interval"]
    lines = [f"{settings['checkpoint'] or settings['model']}: {found['tasks']} tasks, {found['runs']} runs"]
    for name in (name for name in PARTS if name in found):
        interval = f"  (95 % interval {low:.1%} to {high:.1%})" if name == "solved" else ""
        lines.append(f"{_words(name):<14} {found[name]:6.1%}{interval}")
    for family, part in sorted(found["families"].items()):
        lines.append(f"  {family:<12} {part['solved']:6.1%}  of {part['runs']}")
    if failed := found["figures"]["failed"]:
        lines.append(
            f"{failed} runs failed with their surroundings and count as wrong; the same command tries them again"
        )
    return "\n".join(lines) + "\n"


def comparison(a: Path, b: Path, seed: int = 0) -> str:
    """Measurement B against measurement A, task by task, as Markdown.

    Raises:
        DataError: a folder holds no measurement, or the two have no task in common.
    """
    before, after = (_by_task(folder) for folder in (a, b))
    shared = [task for task in before if task in after]
    if not shared or any(before[task][0].task.prompt != after[task][0].task.prompt for task in shared):
        raise DataError(f"{a} and {b} are not measurements of the same tasks; use the same `validation`.")
    lines = [f"{b} against {a}, {len(shared)} tasks in common, {_left_out(before, after)} in one only."]
    lines += _differing(a, b)
    lines += ["", f"| | {a} | {b} | difference (95 % interval) |", "| --- | --- | --- | --- |"]
    parts = [name for name in PARTS if all(name in parts_of(before[task][0]) for task in shared)]
    solved = (0.0, 0.0)
    for name in parts:
        row, interval = _compared(_words(name), before, after, shared, seed, lambda rollout: parts_of(rollout)[name])  # noqa: B023
        lines.append(row)
        solved = interval
    families = {task: str(before[task][0].task.metadata.get("family") or "") for task in shared}
    for family in sorted({family for family in families.values() if family}):
        members = [task for task in shared if families[task] == family]
        row, _ = _compared(f"solved: {family} ({len(members)})", before, after, members, seed, is_solved)
        lines.append(row)
    low, high = solved
    verdict = "better" if low > 0 else "worse" if high < 0 else "not told apart from the other by these tasks"
    lines += ["", f"{b} is {verdict} (solved; paired bootstrap over tasks, {RESAMPLES:,} resamples)."]
    return "\n".join(lines) + "\n"


_ByTask = Mapping[str, Sequence[Rollout]]


def _compared(
    words: str,
    before: _ByTask,
    after: _ByTask,
    tasks: Sequence[str],
    seed: int,
    measure: Callable[[Rollout], bool],
) -> tuple[str, tuple[float, float]]:
    """A line of the comparison, and the interval of its difference."""
    of_a, of_b = (np.array([fmean(map(measure, runs[task])) for task in tasks]) for runs in (before, after))
    low, high = bootstrap(of_b - of_a, seed)
    change = f"{100 * (of_b - of_a).mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"| {words} | {of_a.mean():.1%} | {of_b.mean():.1%} | {change} |", (low, high)


def _by_task(folder: Path) -> dict[str, list[Rollout]]:
    found: dict[str, list[Rollout]] = {}
    for rollout in _stored(folder).values():
        found.setdefault(rollout.task.id, []).append(rollout)
    return found


def _left_out(before: _ByTask, after: _ByTask) -> int:
    return len(before.keys() ^ after.keys())


def _differing(a: Path, b: Path) -> list[str]:
    """A warning where more than the policy changed between two measurements."""
    one, other = read_settings(a), read_settings(b)
    names = [name for name in one if name in _THAT_MATTER and one[name] != other.get(name)]
    told = ", ".join(f"{name} ({one[name]!r}, {other.get(name)!r})" for name in names)
    return [f"They were made with different settings: {told}."] if told else []


_THAT_MATTER = frozenset(
    {"dtype", "role", "agent", "agent_model", "analyst", "executor", "verifier", "generator", "tools", "corpus",
     "max_turns", "max_seconds", "max_result_chars", "analyse", "direct_arguments", "verify", "answer", "max_tokens",
     "max_context", "validation_temperature", "reward", "samples"}
)  # fmt: skip
"""Settings that a measurement depends on."""


def _stored(folder: Path) -> dict[str, Rollout]:
    """The rollouts by id; of one that was tried again, the last."""
    return {rollout.id: rollout for rollout in read_rollouts(folder / ROLLOUTS)}


def _words(name: str) -> str:
    return name.replace("_", " ")


def _write(path: Path, value: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Rollout], None]]:
    """A bar with the running pass rate, on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    solved: list[bool] = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("held-out tasks", total=total)

        def count(rollout: Rollout) -> None:
            solved.append(is_solved(rollout))
            bar.update(task, advance=1, description=f"held-out tasks, {fmean(solved):.0%} solved")

        yield count


if __name__ == "__main__":
    sys.exit(main())
