"""Atomic checkpoints: written to a staging folder, synced to the disk, marked complete, renamed."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
from pathlib import Path

from graph.errors import DataError
from training.run.folder import SETTINGS, disk_is_full

logger = logging.getLogger(__name__)

MARKER = "complete.json"
"""Written last, with the size of every file; a folder without it, or with other sizes, is no checkpoint."""

_NAME = re.compile(r"checkpoint-(\d+)")
_STAGING = "staging"


def staging_folder(run: Path) -> Path:
    """An empty folder for the next checkpoint; leftovers of an interrupted one are removed."""
    folder = run / _STAGING
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def publish(staged: Path, run: Path, update: int, *, keep: int) -> Path:
    """Turns a staged folder into a checkpoint, and removes the oldest ones.

    Args:
        staged: the folder that holds the checkpoint's files.
        run: the run's folder.
        update: how many updates the policy has seen.
        keep: number of checkpoints to keep.

    Raises:
        OSError: the disk is full or not writable; earlier checkpoints are unchanged.
    """
    _settle(staged)
    marker = staged / MARKER
    sizes = {str(file.relative_to(staged)): file.stat().st_size for file in staged.rglob("*") if file.is_file()}
    marker.write_text(json.dumps({"update": update, "sizes": sizes}), encoding="utf-8")
    _sync(marker)
    final = run / f"checkpoint-{update}"
    _move(staged, final)
    oldest = update_of(checkpoints(run)[-keep:][0])
    for old in _numbered(run):
        if update_of(old) < oldest:
            shutil.rmtree(old, ignore_errors=True)
    return final


def put(staged: Path, final: Path) -> None:
    """Moves a folder to its place once all of it is on the disk; replaces what was there.

    Raises:
        OSError: the disk is full or not writable.
    """
    _settle(staged)
    _move(staged, final)


def drop_staging(run: Path) -> None:
    """Removes the leftovers of a failed checkpoint: they take up space, and space may be what is missing."""
    shutil.rmtree(run / _STAGING, ignore_errors=True)


def why_not_written(error: Exception, run: Path) -> str:
    """The reason for a failed save, in words."""
    text = str(error)
    if disk_is_full(error):
        return "the disk is full"
    if getattr(error, "errno", None) == errno.EFBIG or "File too large" in text or "FileTooLarge" in text:
        return "a file would be larger than this system allows"
    if "inline_container" in text or "PytorchStreamWriter" in text:  # torch keeps the reason to itself
        free = shutil.disk_usage(run).free if run.is_dir() else 0
        return f"a file could not be written to its end, the disk may be full ({free / 2**20:.1f} MB are free)"
    return getattr(error, "strerror", None) or (text.splitlines() or [type(error).__name__])[0]


def let_others_read(folder: Path) -> None:
    """Gives weights the permissions of their folder: safetensors makes them readable by their owner only.

    A server may run as another user.
    """
    for file in folder.rglob("*.safetensors"):
        file.chmod(folder.stat().st_mode & 0o666)


def checkpoints(run: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return [path for path in _numbered(run) if _is_complete(path)]


def _numbered(run: Path) -> list[Path]:
    """The folders of a run's checkpoints, complete or not, oldest first."""
    found = [path for path in run.iterdir() if _NAME.fullmatch(path.name)] if run.is_dir() else []
    return sorted(found, key=update_of)


def _is_complete(checkpoint: Path) -> bool:
    try:
        sizes = json.loads((checkpoint / MARKER).read_bytes()).get("sizes", {})
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def newest(run: Path) -> Path | None:
    """The newest complete checkpoint of a run, if there is one; a warning names later ones that are damaged."""
    complete = checkpoints(run)
    damaged = [path.name for path in _numbered(run) if not complete or update_of(path) > update_of(complete[-1])]
    if damaged:
        logger.warning("%s in %s: files are missing or cut; left out.", ", ".join(damaged), run)
    return complete[-1] if complete else None


def newest_in_words(run: Path) -> str:
    """Which checkpoint a run goes on from, as part of a sentence."""
    complete = checkpoints(run)
    return f"the last good checkpoint is {complete[-1]}" if complete else "there is no checkpoint yet"


def weights_of(place: Path, number: int | None = None) -> Path:
    """The folder with the weights of a run, or of one of its checkpoints.

    Args:
        place: a run's folder, or a folder with a model, an adapter or one for each role, which is returned as it is.
        number: which checkpoint of the run; default: the newest.

    Raises:
        DataError: there are no complete weights.
    """
    if number is None and _holds_weights(place):
        if _NAME.fullmatch(place.name) and not _is_complete(place):
            raise DataError(f"The checkpoint {place} is incomplete; name another one.")
        return place
    complete = checkpoints(place)
    if not complete:
        raise DataError(f"{place} holds no complete checkpoint; name the folder of a training run that has saved one.")
    if number is None:
        return newest(place) or complete[-1]
    checkpoint = place / f"checkpoint-{number}"
    if checkpoint not in complete:
        numbers = ", ".join(str(update_of(path)) for path in complete)
        raise DataError(f"{place} holds no complete checkpoint {number}; there are {numbers}.")
    return checkpoint


def _holds_weights(place: Path) -> bool:
    """Whether a folder itself holds weights, or adapters of roles; a run's folder holds only checkpoints."""
    return any(place.glob("*.safetensors")) or (
        not (place / SETTINGS).is_file() and any(place.glob("*/adapter_model.safetensors"))
    )


def update_of(checkpoint: Path) -> int:
    """How many updates a checkpoint's policy has seen."""
    match = _NAME.fullmatch(checkpoint.name)
    assert match is not None
    return int(match[1])


def _settle(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        _sync(path)


def _move(staged: Path, final: Path) -> None:
    _sync(staged)
    old = staged.with_name(f"{staged.name}.old")  # deleting takes longer than the moment between two renames
    if final.exists():
        final.rename(old)
    staged.rename(final)
    _sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
