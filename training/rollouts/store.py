"""Rollouts on disk: a file for each step, a line for each rollout, written as it ends."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from evals.stored import lines_of, make_room, read_object
from graph.errors import DataError
from tools.secrecy import without_keys
from training.rollouts.records import Rollout, rollout_from_dict
from training.run.folder import ROLLOUTS

_NAME = re.compile(r"step-(\d+)\.jsonl")


class RolloutStore:
    """Appends to a folder of rollouts. Safe to use from several threads and processes of one machine.

    Args:
        folder: made when it is first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: list[tuple[Rollout, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rollout-store")

    def append(self, rollout: Rollout) -> None:
        """Write a rollout, without keys that a tool may have shown, and return when it is on the disk.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        self._write([rollout])

    async def store(self, rollout: Rollout) -> None:
        """The same without blocking the event loop.

        Those that come in while others are written are written together: a disk may take as long to sync a line as a
        model to write a reply.

        Raises:
            OSError: as for `append`.
        """
        loop = asyncio.get_running_loop()
        stored = loop.create_future()
        with self._guard:
            self._waiting.append((rollout, loop, stored))
        self._thread.submit(self._write_waiting)
        await stored

    def _write_waiting(self) -> None:
        with self._guard:
            waiting, self._waiting = self._waiting, []
        error: Exception | None = None
        try:
            if waiting:
                self._write([rollout for rollout, _, _ in waiting])
        except Exception as problem:  # noqa: BLE001 - told to who waits for it
            error = problem
        for _, loop, stored in waiting:
            loop.call_soon_threadsafe(_settle, stored, error)

    def _write(self, rollouts: Sequence[Rollout]) -> None:
        by_step: dict[int, bytes] = {}
        for rollout in rollouts:
            by_step[rollout.step] = by_step.get(rollout.step, b"") + _line(rollout)
        with self._lock:
            for step, lines in by_step.items():
                self.folder.mkdir(parents=True, exist_ok=True)
                # One unbuffered write, so that the lines of several processes do not mix.
                path = self.folder / f"step-{step:06d}.jsonl"
                with path.open("ab", buffering=0) as file:
                    try:
                        if file.write(lines) < len(lines):
                            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                        os.fsync(file.fileno())
                    except OSError as error:
                        raise OSError(error.errno, error.strerror, str(path)) from error

    def repair(self, step: int) -> None:
        """Cut off the half line that an interruption may have left, so that further rollouts can follow."""
        for number, path in _files(self.folder):
            if number == step:
                make_room(path)

    def discard_from(self, step: int) -> None:
        """Discards the rollouts of a step and of all later ones: a resumed run makes them again."""
        for number, path in _files(self.folder):
            if number >= step:
                path.unlink()


def _line(rollout: Rollout) -> bytes:
    text = without_keys(json.dumps(rollout.as_dict(), ensure_ascii=False, default=str))
    return text.encode("utf-8", errors="replace") + b"\n"  # model output can hold half a surrogate pair


def _settle(stored: asyncio.Future[None], error: Exception | None) -> None:
    if stored.done():  # who waited was cancelled
        return
    if error is None:
        stored.set_result(None)
    else:
        stored.set_exception(error)


def read_rollouts(path: Path) -> Iterator[Rollout]:
    """Stored rollouts, step by step; a last line that was cut off is left out.

    A failure is left out where the run was made again: for its success, or for the later failure.

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
        lines, _ = lines_of(file.read_bytes())
        found = [_rollout(line, f"{file}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
        last = {rollout.id: rollout for rollout in sorted(found, key=lambda rollout: rollout.failure is None)}
        yield from (rollout for rollout in found if rollout.failure is None or last[rollout.id] is rollout)


def _files(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    return sorted((int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name)))


def _rollout(line: str, where: str) -> Rollout:
    try:
        plain = read_object(line)
    except DataError as error:
        raise DataError(f"{where}, is no rollout ({error}); restore or remove it.") from None
    try:
        return rollout_from_dict(plain)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
