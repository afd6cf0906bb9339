"""A policy at several turn limits: each limit is a measurement of its own, in a folder inside the sweep's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from evals.reports.sweep import limits_of, place, places, refuse_other_settings, write_sweep
from evals.reports.turn_limits import Curve, Point
from graph.errors import ConfigError, DataError
from training.flow_grpo.config import RESUMABLE, load_config
from training.rollouts.breakdown import is_solved
from training.rollouts.records import by_task
from training.run.folder import ROLLOUTS, read_settings
from training.validate.measure import stored_rollouts, validate


def sweep(
    config: Path | None, settings: Mapping[str, Any], checkpoint: Path | None, *, samples: int, against: Path | None
) -> list[Curve]:
    """Measures the policy at each limit; figure and tables are written anew after each.

    Args:
        config: file of the settings, if there is one.
        settings: those of the command line; `max_turns` lists the limits, as `1,2,3,5,8`.
        checkpoint: see `measure.validate`.
        samples: runs of each task.
        against: folder of another sweep, whose curve is drawn beside this one.

    Returns:
        The curves, that of this sweep last.

    Raises:
        AgentFlowError: a setting, the checkpoint or the other sweep cannot be used.
        OSError: the folder is not writable.
    """
    folder = Path(str(settings["out"]))
    configs = [
        load_config(config, {**settings, "max_turns": limit, "out": str(place(folder, limit))})
        for limit in limits_of(str(settings["max_turns"]))
    ]
    if configs[0].agent is not None:
        raise ConfigError("A sweep is over the turns of our graph; the graph of `agent` has limits of its own.")
    earlier = [stored_curve(against)] if against else []
    curves: list[Curve] = []
    for each in configs:
        validate(each, checkpoint, samples=samples)
        curves = [*earlier, stored_curve(folder)]
        write_sweep(folder, curves)
    return curves


def stored_curve(folder: Path) -> Curve:
    """The finished or growing sweep in a folder.

    Raises:
        DataError: it holds none, or its measurements differ in more than their turn limit.
    """
    started = [path for path in places(folder) if any((path / ROLLOUTS).glob("*.jsonl"))]
    if not started:
        raise DataError(f"{folder} holds no rollouts yet; finish its sweep first.")
    settings = {path: read_settings(path) for path in started}
    refuse_other_settings(settings, leave=("out", *RESUMABLE))
    return Curve(str(folder), [_point(path, int(of_run["max_turns"])) for path, of_run in settings.items()])


def _point(folder: Path, limit: int) -> Point:
    tasks = by_task(stored_rollouts(folder).values())
    return Point(
        limit,
        {
            task: (fmean(map(is_solved, runs)), fmean(len(rollout.memory) for rollout in runs))
            for task, runs in tasks.items()
        },
    )
