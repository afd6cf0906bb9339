"""Rollouts on disk: a file for each step, a line for each rollout, written as it ends."""

from __future__ import annotations

import errno
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from graph.errors import DataError
from training.rollouts.records import Rollout, rollout_from_dict
from training.run.folder import ROLLOUTS
from training.run.secrecy import without_keys

_NAME = re.compile(r"step-(\d+)\.jsonl")


class RolloutStore:
    """Appends to a folder of rollouts. Safe to use from several threads and processes of one machine.

    Args:
        folder: made when it is first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def append(self, rollout: Rollout) -> None:
        """Write a rollout, without keys that a tool may have shown, and return when it is on the disk.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        text = without_keys(json.dumps(rollout.as_dict(), ensure_ascii=False, default=str))
        line = text.encode("utf-8", errors="replace") + b"\n"  # model output can hold half a surrogate pair
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            # One unbuffered write, so that the lines of several processes do not mix.
            with (self.folder / f"step-{rollout.step:06d}.jsonl").open("ab", buffering=0) as file:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
                os.fsync(file.fileno())

    def mend(self, step: int) -> None:
        """Cut off the half line that an interruption may have left, so that further rollouts can follow."""
        for number, path in _files(self.folder):
            if number == step:
                whole = path.read_bytes().rfind(b"\n") + 1
                os.truncate(path, whole)

    def discard_from(self, step: int) -> None:
        """Forget the rollouts of a step and of all later ones: a resumed run makes them anew."""
        for number, path in _files(self.folder):
            if number >= step:
                path.unlink()


def read_rollouts(path: Path) -> Iterator[Rollout]:
    """Stored rollouts, step by step; a last line that was cut off is left out.

    Args:
        path: a run's folder, a folder of rollouts, or one file.

    Raises:
        DataError: there is nothing to read, or a line is no rollout of this schema.
    """
    folder = path / ROLLOUTS if (path / ROLLOUTS).is_dir() else path
    files = [path] if path.is_file() else [file for _, file in _files(folder)]
    if not files:
        raise DataError(f"{path} holds no rollouts; name a run's folder, or a file such as step-000000.jsonl.")
    for file in files:
        data = file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1].decode("utf-8", errors="replace")
        for number, line in enumerate(whole.split("\n"), 1):
            if line:
                yield _rollout(line, f"{file}, line {number}")


def _files(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    return sorted((int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name)))


def _rollout(line: str, where: str) -> Rollout:
    try:
        plain = json.loads(line)
    except json.JSONDecodeError:
        raise DataError(f"{where}, is not JSON; remove the line.") from None
    if not isinstance(plain, dict):
        raise DataError(f"{where}, is no rollout; remove the line.")
    try:
        return rollout_from_dict(plain)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
