"""The folder of a run: `run.json` with its settings, `results.jsonl` with one line per question and sample.

A line is written once, as a whole, and synced to disk before the next answer counts, so a killed run loses at most the
answer in flight. When the folder is opened again with the same settings, a torn last line is cut off and the run
continues; a folder with other settings is refused and left untouched. Once everything is answered, the file is sorted
by one atomic replacement, so that interrupted and uninterrupted runs end with lines in the same order.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import TypedDict

from evals.stored import Fields, lines_of, make_room, read_object, real_path
from graph.errors import AgentFlowError, ConfigError, DataError
from graph.state import Failure

logger = logging.getLogger(__name__)

SCHEMA = 1
"""Version of both files; readers refuse other versions."""

RESULTS = "results.jsonl"
RUN = "run.json"

Key = tuple[str, int]
"""Task id and sample number."""


@dataclass(frozen=True)
class Result:
    """One answer to one question, and how it came about."""

    task: str
    sample: int
    benchmark: str
    question: str
    """As shown to the agent, including options."""
    gold: list[str]
    prediction: str
    correct: bool
    """Under the lenient rules (`evals.task.Score`)."""
    exact: bool
    """Under the exact rules, those of published figures."""
    value: float
    """The scorer's partial measure, in [0, 1]."""
    reason: str
    seed: int
    seconds: float
    """Wall time of the last attempt."""
    attempts: int = 1
    choices: list[str] | None = None
    family: str = ""
    """Kind of question, if the benchmark names one."""
    turns: list[dict[str, Any]] = field(default_factory=list)
    """The run's memory, as the graph recorded it."""
    trace: dict[str, Any] = field(default_factory=dict)
    """Verbatim prompts of all roles, and the times of all calls (`graph.trace`)."""
    usage: dict[str, dict[str, float]] = field(default_factory=dict)
    """Calls, tokens and seconds of each role."""
    ended_by: str = ""
    failure: Failure | None = None
    """Set if there is no answer, or none to trust, because of the environment."""
    leaks: list[str] = field(default_factory=list)
    """Why tool results of this run may have leaked the answer."""
    judge: dict[str, Any] | None = None
    """`correct` and `reason` from the judge, if there was one."""

    @property
    def key(self) -> Key:
        """Identifies the line."""
        return self.task, self.sample


class _Call(TypedDict, total=False):
    """What reports read of a call."""

    arguments: dict[str, Any] | None
    error: Failure | None


class _Plan(TypedDict, total=False):
    """What reports read of a plan."""

    error: Failure | None


class _Verdict(TypedDict, total=False):
    """What reports read of a verdict."""

    accepted: bool


class _Turn(TypedDict, total=False):
    """What reports read of a turn; runs of earlier versions lack some of it."""

    plan: _Plan | None
    calls: list[_Call] | None
    error: Failure | None
    verdict: _Verdict | None


class _Opinion(TypedDict):
    """A judge's."""

    correct: bool | None


@dataclass(frozen=True)
class _Settings:
    """What reports read of a run's settings."""

    question_count: int = 0
    samples: int = 1
    max_turns: int = 1


_SETTINGS = Fields(_Settings)
_FIELDS = Fields(Result, {"turns": list[_Turn], "judge": _Opinion | None})


def to_line(result: Result) -> bytes:
    """One line of the file, newline included."""
    record = {"schema": SCHEMA} | vars(result)
    text = json.dumps(record, ensure_ascii=False, default=str)
    # Model output may contain lone surrogates, which UTF-8 cannot encode.
    return text.encode("utf-8", errors="replace") + b"\n"


def from_line(line: str, where: str) -> Result:
    """Read one line back.

    Raises:
        DataError: the line is not of this schema.
    """
    try:
        record = read_object(line)
        if "correct" in record:
            record.setdefault("exact", record["correct"])  # runs from before the lenient rules have one verdict
        schema = record.get("schema")
        if schema == SCHEMA:
            _FIELDS.check(record)
            return Result(**{item.name: record[item.name] for item in fields(Result) if item.name in record})
        if schema is None:
            raise DataError("its `schema` is missing")
    except DataError as error:
        raise DataError(f"{where} is no result of an evaluation ({error}); restore or remove it.") from None
    raise DataError(f"{where} has schema {schema!r}, this version reads {SCHEMA}; use the version that wrote it.")


@dataclass(frozen=True)
class Recorded:
    """The content of a folder: the run's settings, and its results in file order."""

    folder: Path
    settings: dict[str, Any]
    results: list[Result]

    @property
    def name(self) -> str:
        """The folder's name, as used in reports."""
        return real_path(self.folder).name


def read_run(folder: Path) -> Recorded:
    """Read a run's folder, except for a torn last line.

    Raises:
        DataError: the folder has no run or no results, or cannot be read.
    """
    settings = _read_settings(folder)
    if settings is None:
        raise DataError(f"{folder} contains no evaluation (no {RUN}); name a folder written by `python -m evals run`.")
    path = folder / RESULTS
    results = _parse(path.read_bytes() if path.exists() else b"", path)
    if not results:
        raise DataError(f"{folder} contains no results yet; finish its run first.")
    return Recorded(folder, settings, results)


def _read_settings(folder: Path) -> dict[str, Any] | None:
    path = folder / RUN
    if not path.exists():
        return None
    try:
        record = read_object(path.read_bytes().decode("utf-8-sig", errors="replace"))
        schema, settings = record.get("schema"), record.get("settings")
        if schema == SCHEMA:
            if not isinstance(settings, dict):
                raise DataError("its `settings` are no JSON object")
            _SETTINGS.check(settings)
            return settings
        if schema is None:
            raise DataError("its `schema` is missing")
    except DataError as error:
        raise DataError(
            f"{path} holds no settings of an evaluation ({error}); restore it or use a new folder."
        ) from None
    raise DataError(f"{path} has schema {schema!r}, this version reads {SCHEMA}; use the version that wrote it.")


def _parse(data: bytes, path: Path) -> list[Result]:
    """The results of the whole lines of a file."""
    results: dict[Key, Result] = {}
    lines, _ = lines_of(data)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        result = from_line(line, f"{path}, line {number},")
        if result.key in results:
            raise DataError(
                f"{path}, line {number}, repeats sample {result.sample} of {result.task}; remove one of them."
            )
        results[result.key] = result
    return list(results.values())


class ResultFile:
    """A run's folder, opened for writing by a single process; a context manager.

    Args:
        folder: Created if it does not exist.
        settings: Identify the run; a folder with other settings belongs to another run.

    Raises:
        ConfigError: the folder belongs to another run, contains other files, or is in use by another process.
        DataError: its results cannot be read.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.path = folder / RESULTS
        self._settings = json.loads(json.dumps(settings))
        self._lock = threading.Lock()
        self._results: dict[Key, Result] = {}
        self._descriptor = -1
        self._guard = -1
        self._is_new = False
        self._made: list[Path] = []

    def __enter__(self) -> ResultFile:
        before = _read_settings(self.folder)
        if before is None:
            self._refuse_other_files()
        elif before != self._settings:
            raise ConfigError(
                f"{self.folder} belongs to another run ({_difference(before, self._settings)}); choose another --out."
            )
        try:
            self._made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
            self.folder.mkdir(parents=True, exist_ok=True)
            self._claim()
            if before is None:
                self._is_new = True
                write_atomically(self.folder / RUN, _settings_text(self._settings))
            self._open()
        except OSError as error:
            self._close()
            raise ConfigError(f"{self.folder} cannot be written ({error.strerror}); choose another --out.") from None
        except AgentFlowError:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if error is not None and self._is_new and not self._results:
            # A run that could not start must leave nothing behind that gets in the way of the corrected command.
            for name in (RESULTS, RUN):
                (self.folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # somebody has put something there meanwhile
                for folder in self._made:
                    folder.rmdir()

    def _close(self) -> None:
        for descriptor in (self._descriptor, self._guard):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._guard = -1

    @property
    def results(self) -> list[Result]:
        """All results so far, including those of earlier starts."""
        return list(self._results.values())

    def has(self, key: Key) -> bool:
        """Whether this question and sample have been answered."""
        return key in self._results

    def append(self, result: Result) -> None:
        """Write one result to disk. Thread-safe."""
        line = to_line(result)
        with self._lock:
            written = 0
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
            os.fsync(self._descriptor)
            self._results[result.key] = result

    def drop_failures(self) -> int:
        """Remove failed results, so that they are tried again; returns their number."""
        failed = [key for key, result in self._results.items() if result.failure]
        for key in failed:
            del self._results[key]
        if failed:
            self._replace(self._results.values())
        return len(failed)

    def finish(self, order: Iterable[Key]) -> None:
        """Sort the lines by one atomic replacement of the file."""
        ordered = [key for key in order if key in self._results]
        if ordered != list(self._results):
            self._replace([self._results[key] for key in ordered])

    def _replace(self, results: Iterable[Result]) -> None:
        results = list(results)
        with self._lock:
            write_atomically(self.path, b"".join(map(to_line, results)))
            os.close(self._descriptor)
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            self._results = {result.key: result for result in results}

    def _refuse_other_files(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"{self.folder} is a file; name a folder with --out.")
        unfinished = temporary_of(self.folder / RUN)  # of a disk that was full
        if self.folder.is_dir() and any(path != unfinished for path in self.folder.iterdir()):
            raise ConfigError(
                f"{self.folder} contains files but no evaluation; choose an empty or new folder for --out."
            )

    def _claim(self) -> None:
        self._guard = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Another process is writing to {self.folder}; wait for it or choose another --out."
            ) from None

    def _open(self) -> None:
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._results = {result.key: result for result in _parse(self.path.read_bytes(), self.path)}
        if make_room(self.path):
            logger.warning("The last line of %s is incomplete, because the run was killed; it is removed.", self.path)


def _settings_text(settings: Mapping[str, Any]) -> bytes:
    return json.dumps({"schema": SCHEMA, "settings": settings}, ensure_ascii=False, indent=2).encode() + b"\n"


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first setting that differs, in words."""
    for name in [*now, *before]:
        if before.get(name) != now.get(name):
            if name == "questions":
                return "its questions are not the same"
            return f"its {name.replace('_', ' ')} is {before.get(name)!r}, not {now.get(name)!r}"
    return "its settings differ"


def temporary_of(path: Path) -> Path:
    """What `write_atomically` writes to before it replaces `path`."""
    return path.with_name(path.name + ".tmp")


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file atomically: whatever happens, it has either the old or the new content."""
    temporary = temporary_of(path)
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
