"""What one process at a time writes to: a run's folder with its settings, and outputs that are there whole or not."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from graph.errors import AgentFlowError, ConfigError, DataError
from tools.secrecy import to_be_stored
from training.run import ranks

SETTINGS = "config.yaml"
LOCK = ".lock"
ROLLOUTS = "rollouts"
VALIDATIONS = "validations"
ADAPTERS = "adapters"
SERVER_LOG = "vllm.log"
"""Names of files and sub-folders."""


@contextmanager
def claimed(folder: Path, settings: Mapping[str, Any], *, resumable: Collection[str] = ()) -> Iterator[None]:
    """Holds a folder for one process, with these settings in it (without passwords and keys); refuses another run's.

    Args:
        folder: created if missing.
        settings: plain values; `command` distinguishes runs of different commands. `out`, however it is written, is
            the folder.
        resumable: settings that may change when a run is resumed.

    Raises:
        ConfigError: the folder belongs to other settings, holds something else, or another process is at work in it.
            Where a mistake of the user ends the run before it has written anything, nothing is left of it.
        OSError: the folder is not writable.
    """
    if ranks.rank() > 0:
        yield
        return
    shown = to_be_stored(settings)
    _refuse_other(folder, shown, resumable)  # before anything is written to it
    before = _names_in(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / LOCK, folder), _restored_if_refused(folder, before):
        _refuse_other(folder, shown, resumable)  # another process may have begun
        kept = folder / SETTINGS
        temporary = kept.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(yaml.safe_dump(shown, sort_keys=False), encoding="utf-8")
        temporary.replace(kept)
        yield


@contextmanager
def _restored_if_refused(folder: Path, before: Collection[str] | None) -> Iterator[None]:
    """Takes away what was written in a folder, if the run does not begin; and the folder if there was none before.

    All of it stays with the log of a server that could not start, which the error names.
    """
    try:
        yield
    except AgentFlowError:
        names = _names_in(folder) or set()
        if SERVER_LOG not in names and all(_precedes_a_run(folder / name) for name in names):
            for name in sorted(names.difference(before or ()), key=LOCK.__eq__):  # the lock last: then others write
                _remove(folder / name)
            if before is None:
                with suppress(OSError):  # another process has begun there
                    folder.rmdir()
        raise


def _names_in(folder: Path) -> set[str] | None:
    """What a folder holds; None if there is no folder."""
    return {path.name for path in folder.iterdir()} if folder.exists() else None


def _refuse_other(folder: Path, shown: Mapping[str, Any], resumable: Collection[str]) -> None:
    kept = folder / SETTINGS
    begun = folder.exists() and not all(map(_precedes_a_run, folder.iterdir()))
    if kept.exists() and begun:  # settings of a run that was refused at once may be corrected
        before = read_settings(folder)
        if before.get("command") != shown.get("command"):
            raise ConfigError(f"{folder} holds a run of another command; choose another --out.")
        for name, value in shown.items():
            if name not in ("out", *resumable) and before.get(name, value) != value:
                raise ConfigError(
                    f"{folder} holds a run whose {name} is {before.get(name)!r}, not {value!r}; choose another --out."
                )
    elif begun:
        raise ConfigError(f"{folder} is not empty and holds no run of this kind; choose another --out.")


def _precedes_a_run(path: Path) -> bool:
    """Whether a file is there before a run has begun: its settings, even if they could not be written whole, and what a
    server leaves that was refused."""
    if path.name == ADAPTERS:
        return not any(path.iterdir())
    return path.name in (SETTINGS, LOCK, SERVER_LOG) or (path.name.startswith("config.") and path.suffix == ".tmp")


@contextmanager
def _locked(lock: Path, place: Path) -> Iterator[None]:
    """Keeps other processes from writing to a place. The lock ends with its process, however that ends."""
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(lock, timeout=0))
        except (Timeout, FileNotFoundError):  # not found: its folder was that of a run that was refused just now
            raise ConfigError(f"Another process is at work in {place}; wait for it, or choose another --out.") from None
        yield


@contextmanager
def new_output(out: Path, *, replace: bool = False) -> Iterator[Path]:
    """Where to write a file or a folder that becomes `out` if no error occurs; one process at a time.

    What a killed process has left there is removed. The lock is a file beside `out`.

    Args:
        out: the output.
        replace: whether it may be a file that exists.

    Returns:
        A path beside `out` at which there is nothing yet.

    Raises:
        ConfigError: `out` is taken, or is the working directory, or another process writes it.
        DataError: the disk is full.
        OSError: it cannot be written.
    """
    out = Path(os.path.realpath(out))  # Path.resolve has no patience with links that lead in a circle
    _refuse_taken(out, replace)
    out.parent.mkdir(parents=True, exist_ok=True)
    lock, unfinished = (out.with_name(f"{out.name}.{ending}") for ending in ("lock", "tmp"))
    with _locked(lock, out):
        try:
            _refuse_taken(out, replace)  # another process may have finished
            _remove(unfinished)
            yield unfinished
            if out.is_dir():
                out.rmdir()
            unfinished.replace(out)
        except Exception as error:
            if not disk_is_full(error):
                raise
            raise DataError(
                f"{out} could not be written: the disk is full. Free some space and run the same command again."
            ) from error
        finally:
            _remove(unfinished)
            lock.unlink(missing_ok=True)


def write_lines(path: Path, records: Iterable[object]) -> None:
    """Writes a file with a line of JSON for each record, whole or not at all, in place of one that is there.

    Raises:
        ConfigError, DataError, OSError: see `new_output`.
    """
    with new_output(path, replace=True) as file:
        file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def disk_is_full(error: Exception) -> bool:
    """Whether a write failed for want of room; torch and safetensors report that in ways of their own."""
    text = str(error)
    return getattr(error, "errno", None) == errno.ENOSPC or "No space left" in text or "StorageFull" in text


def _refuse_taken(out: Path, replace: bool) -> None:
    if os.path.lexists(out) and not (replace and out.is_file()) and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} exists already; remove it or choose another --out.")
    if out == Path.cwd():
        raise ConfigError(f"{out} is the working directory, which cannot be replaced; choose another --out.")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a run, from its folder.

    Raises:
        DataError: the folder holds none.
    """
    try:
        settings = yaml.safe_load((folder / SETTINGS).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"{folder / SETTINGS} cannot be read ({error.strerror}); name the folder of a training run."
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise DataError(f"{folder / SETTINGS} holds no settings; name the folder of a training run.")
    return settings
