"""Finds saved runs, evaluations and training runs in paths, and reads what is new in them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evals.stored import real_path
from evals.view.documents import Kind
from evals.view.index import RunIndex
from evals.view.tokens import TokenTexts
from evals.view.values import mapping, read, text
from graph.errors import ConfigError, DataError

RESULTS, EVALUATION = "results.jsonl", "run.json"
METRICS, ALARMS, SETTINGS = "metrics.jsonl", "alarms.jsonl", "config.yaml"
ROLLOUTS, VALIDATIONS = "rollouts", "validations"

_STEP = re.compile(r"step-\d+\.jsonl")

_DEPTH = 3
"""Maximum depth of folders searched below a path."""

_MOST = 200
"""Maximum number of sets."""


class Source:
    """One set of runs: a saved run, an evaluation, a training run, or the held-out runs of one.

    The held-out runs of a training are a set of their own, whose steps are numbers of updates.

    Args:
        kind: Its kind.
        path: The file or folder.
        name: Its name on the page.
    """

    def __init__(self, kind: Kind, path: Path, name: str) -> None:
        self.kind = kind
        self.path = path
        self.name = name
        self.index = RunIndex(kind, path)
        self.tokens = TokenTexts(path if path.is_dir() else path.parent)
        self._guard = threading.Lock()
        self._about: dict[str, str] | None = None

    def refresh(self) -> None:
        """Read everything new; what cannot be read now is read next time."""
        with self._guard:
            try:
                self.index.refresh(self._files())
            except OSError as error:
                self.index.problems = [f"{Path(str(error.filename)).name} cannot be read ({error.strerror})"]

    def _files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        if self.kind == "evaluation":
            path = self.path / RESULTS
            return [path] if path.is_file() else []
        folder = self.path / ROLLOUTS if (self.path / ROLLOUTS).is_dir() else self.path
        return sorted(path for path in folder.iterdir() if _STEP.fullmatch(path.name))

    def settings(self) -> dict[str, Any]:
        """The settings of the run, if its folder contains them."""
        if self.kind == "evaluation" and self._holds(path := self.path / EVALUATION):
            return mapping(mapping(_loaded(path)).get("settings"))
        home = self.path.parent if self.path.name == VALIDATIONS else self.path
        path = home / SETTINGS
        if self.kind == "training" and path.is_file() and real_path(path).parent == real_path(home):
            import yaml

            try:
                return mapping(yaml.safe_load(path.read_text(encoding="utf-8", errors="replace")))
            except (yaml.YAMLError, OSError):
                return {}
        return {}

    def metrics(self) -> dict[str, list[dict[str, Any]]]:
        """A training run's `lines` of figures and its `alarms`."""
        return {"lines": self._lines(METRICS), "alarms": self._lines(ALARMS)}

    def _lines(self, name: str) -> list[dict[str, Any]]:
        """The objects of a file, without damaged and unfinished lines."""
        path = self.path / name
        if self.kind != "training" or not path.is_file() or not self._holds(path):
            return []
        lines = []
        for line in path.read_bytes().split(b"\n"):
            try:
                value = read(line) if line.strip() else None
            except ValueError:
                continue
            if isinstance(value, dict):
                lines.append(value)
        return lines

    def described(self) -> dict[str, Any]:
        """The entry in the page's list of sets."""
        index = self.index
        return {
            "kind": self.kind,
            "name": self.name,
            "path": str(self.path),
            "unit": "update" if self._is_held_out() else "step",
            "runs": len(index.rows),
            "generation": index.generation,
            "unread": index.unread,
            "problems": index.problems,
            "written": self._written(),
            **self._named(),
            "measured": self._size(METRICS) + self._size(ALARMS),
        }

    def _is_held_out(self) -> bool:
        folder = self.path if self.path.is_dir() else self.path.parent
        return folder.name == VALIDATIONS

    def _written(self) -> float | None:
        """When the set was last written to, in seconds since 1970."""
        try:
            return max((path.stat().st_mtime for path in self._files()), default=None)
        except OSError:
            return None

    def _named(self) -> dict[str, str]:
        """Benchmark and model, as far as the set's settings or its file name them."""
        if self._about is None:
            asked = "benchmark" if self.kind == "evaluation" else "tasks"
            asked = "validation" if self.path.name == VALIDATIONS else asked
            self._about = _about(self.settings(), asked)
        return self._about

    def _size(self, name: str) -> int:
        path = self.path / name
        return path.stat().st_size if self.kind == "training" and path.is_file() else 0

    def _holds(self, path: Path) -> bool:
        return real_path(path).is_relative_to(real_path(self.path))


def _about(settings: dict[str, Any], asked: str) -> dict[str, str]:
    """Benchmark (the setting `asked`) and model of a set; the planner's model too where it is another."""
    planner = text(settings.get("planner_model"))
    model = text(settings.get("model"))
    named = f"{model}, planner {planner}" if planner and planner != model else model
    return {"model": named, "benchmark": text(settings.get(asked))}


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """The sets of runs in the paths, in order.

    Raises:
        ConfigError: a path does not exist, or there are too many sets.
        DataError: a path contains nothing to show.
    """
    sets: list[tuple[Kind, Path]] = []
    for path in paths:
        if not path.exists():
            raise ConfigError(
                f"There is nothing at {path}; name a saved run, or the folder of an evaluation or training."
            )
        try:
            inside = list(_inside(path, _DEPTH))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read ({error.strerror}).") from None
        if not inside:
            raise DataError(
                f"{path} contains no run; name a file that `python -m graph --save` wrote, or a folder of `python -m "
                "evals run` or `python -m training.flow_grpo`."
            )
        sets += [each for each in inside if each not in sets]
    if len(sets) > _MOST:
        raise ConfigError(f"The paths contain {len(sets)} sets of runs; at most {_MOST} are shown, name fewer.")
    names = _names([path for _, path in sets])
    return [Source(kind, path, name) for (kind, path), name in zip(sets, names, strict=True)]


def _inside(path: Path, depth: int) -> Iterator[tuple[Kind, Path]]:
    if kind := _kind(path):
        yield kind, path
        if kind == "training" and path.is_dir() and _has_steps(path / VALIDATIONS):
            yield kind, path / VALIDATIONS
    elif path.is_dir() and depth:
        for inner in sorted(path.iterdir()):
            if not inner.is_symlink() and not inner.name.startswith("."):
                yield from _inside(inner, depth - 1)


def _kind(path: Path) -> Kind | None:
    if path.is_file():
        if path.suffix == ".jsonl":
            return "training" if _STEP.fullmatch(path.name) else "evaluation" if path.name == RESULTS else None
        return "run" if path.suffix == ".json" and _is_saved_run(path) else None
    if (path / EVALUATION).is_file() and (
        (path / RESULTS).exists() or "settings" in mapping(_loaded(path / EVALUATION))
    ):
        return "evaluation"
    if (path / ROLLOUTS).is_dir() or (path / METRICS).is_file():
        return "training"
    return "training" if _has_steps(path) else None


def _has_steps(folder: Path) -> bool:
    return folder.is_dir() and any(_STEP.fullmatch(inner.name) for inner in folder.iterdir())


def _is_saved_run(path: Path) -> bool:
    """Whether a file was saved by `python -m graph --save`; folders of runs contain other JSON files as well."""
    document = mapping(_loaded(path))
    return "question" in document and ("memory" in document or "answer" in document)


def _loaded(path: Path) -> Any:
    try:
        return read(path.read_bytes())
    except (OSError, ValueError):
        return None


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, or more if several end alike; held-out runs are named after their training."""
    held = [path for path in paths if path.name == VALIDATIONS and path.parent in paths]
    own = {path: real_path(path).parts for path in paths if path not in held}
    for length in range(1, max((len(each) for each in own.values()), default=1) + 1):
        names = {path: "/".join(parts[-length:]) for path, parts in own.items()}
        if len(set(names.values())) == len(names):
            break
    return [f"{names[path.parent]}, held out" if path in held else names[path] for path in paths]
