"""A benchmark at several turn limits: each limit is a run of its own, in a folder inside the sweep's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evals.reports.metrics import summarise
from evals.reports.sweep import limits_of, place, places, refuse_other_settings, write_sweep
from evals.reports.turn_limits import Curve, curve
from evals.results import RESULTS, read_run
from evals.runs.session import Options, Session, prepare
from graph.errors import ConfigError, DataError


def sessions_of(options: Options, limits: str) -> tuple[Path, list[Session]]:
    """The sweep's folder, and a checked run for each limit, the lowest first.

    Raises:
        ConfigError, DataError: an option or a file is invalid.
    """
    if options.mode != "agent":
        raise ConfigError(f"A sweep is over the turns of the agent, and --mode {options.mode} has none.")
    part = "" if options.split == "all" else f"-{options.split}"
    folder = options.out or Path("runs", "evals", f"{options.benchmark}-sweep{part}")
    return folder, [
        prepare(replace(options, out=place(folder, limit), context={**options.context, "max_turns": limit}))
        for limit in limits_of(limits)
    ]


def recorded_curve(folder: Path) -> Curve:
    """The finished or growing sweep in a folder.

    Raises:
        DataError: it holds none, or its runs differ in more than their turn limit.
    """
    started = [path for path in places(folder) if (path / RESULTS).exists() and (path / RESULTS).stat().st_size]
    if not started:
        raise DataError(f"{folder} holds no results yet; finish its sweep first.")
    runs = [read_run(path) for path in started]
    refuse_other_settings({run.folder: run.settings for run in runs})
    return curve(str(folder), [summarise(run) for run in runs])


def write(folder: Path, against: Curve | None = None) -> list[Curve]:
    """Writes figure and tables of a sweep, beside those of another; returns the curves, its own last."""
    curves = [*([against] if against else []), recorded_curve(folder)]
    write_sweep(folder, curves)
    return curves
