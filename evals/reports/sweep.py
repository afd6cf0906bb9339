"""The files of a sweep over turn limits: a folder for each limit, a figure, and a Markdown file with its tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from evals.reports.cells import Cells, table
from evals.reports.figure import turn_limit_svg
from evals.reports.turn_limits import Curve, differences, limits
from evals.results import write_atomically
from graph.errors import ConfigError, DataError

FIGURE, TABLE = "sweep.svg", "sweep.md"

_LIMIT = re.compile(r"0*[1-9][0-9]{0,8}")
_FOLDER = re.compile(r"turns-(\d+)")


def limits_of(text: str) -> tuple[int, ...]:
    """The turn limits of an option such as `1,2,3,5,8`, the lowest first.

    Raises:
        ConfigError: it is no list of whole numbers from 1.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(_LIMIT.fullmatch(word) for word in words):
        raise ConfigError(f"The turn limits are {text[:60]!r}; give whole numbers from 1, such as 1,2,3,5,8.")
    return tuple(sorted({int(word) for word in words}))


def place(folder: Path, limit: int) -> Path:
    """The folder of the runs at one limit."""
    return folder / f"turns-{limit}"


def places(folder: Path) -> list[Path]:
    """The folders of the runs at each limit, the lowest first.

    Raises:
        DataError: it is no sweep.
    """
    inside = folder.iterdir() if folder.is_dir() else ()
    known = sorted((int(match[1]), path) for path in inside if (match := _FOLDER.fullmatch(path.name)))
    if not known:
        raise DataError(f"{folder} holds no sweep (no folder turns-1, turns-2, ...); name the --out of another sweep.")
    return [path for _, path in known]


def refuse_other_settings(settings: Mapping[Path, Mapping[str, object]], leave: Sequence[str] = ()) -> None:
    """Refuses a sweep whose runs differ in more than their turn limit.

    Args:
        settings: of each run, by its folder.
        leave: settings that may differ all the same.

    Raises:
        DataError: they differ.
    """
    (first, known), *rest = settings.items()
    for path, other in rest:
        names = [name for name in {**known, **other} if known.get(name) != other.get(name)]
        if differing := [name for name in names if name not in ("max_turns", *leave)]:
            raise DataError(
                f"{first} and {path} differ in {', '.join(differing)}, not only in their turn limit; remove the one "
                "that does not belong to the sweep, or choose another --out."
            )


def sweep_tables(curves: Sequence[Curve]) -> list[tuple[str, Cells]]:
    """The tables of a sweep with their titles: each curve, and what changes from each to the last."""
    *earlier, last = curves
    changes = [(f"{last.name} against {each.name}", differences(each, last)) for each in earlier]
    return [("Accuracy and turns by turn limit", limits(curves)), *(each for each in changes if len(each[1]) > 1)]


def sweep_text(curves: Sequence[Curve]) -> str:
    """The tables as Markdown."""
    return "\n\n".join(f"## {title}\n\n{table(cells)}" for title, cells in sweep_tables(curves)) + "\n"


def write_sweep(folder: Path, curves: Sequence[Curve]) -> None:
    """Writes figure and tables beside the folders of the runs."""
    text = f"![Accuracy and mean turns by turn limit]({FIGURE})\n\n{sweep_text(curves)}"
    write_atomically(folder / FIGURE, turn_limit_svg(curves).encode("utf-8", errors="replace"))
    write_atomically(folder / TABLE, text.encode("utf-8", errors="replace"))
