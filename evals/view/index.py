"""An index of a set of runs that may still be growing: a row per run, the position of its line, and a text to search.

Each line is read once. Only a short row stays in memory; the text goes to a temporary file, which searches read block
by block. A file that has grown is read from its former end. If a file was replaced, shortened or removed (an
evaluation was sorted, a training run resumed from a checkpoint), the index is rebuilt and its `generation` increases,
which tells the page that its rows are outdated. It increases too where a rollout was made again: that takes the row of
the former one, unless it alone has failed.
"""

from __future__ import annotations

import os
import tempfile
import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.stored import is_object, real_path
from evals.view.documents import FIELDS, Kind, Unreadable, plain, row_of, searchable, without_bulk

_BLOCK = 8 << 20
"""Block size of searches in bytes."""

_PROBLEMS = 5
"""Maximum number of unreadable lines listed; the rest is only counted."""


_KEY, _STEP, _OUTCOME = (FIELDS.index(name) for name in ("key", "step", "outcome"))
_REPLACED = -1
"""Stands for the row of a text that is none any more."""


@dataclass
class _File:
    """How far a file has been read, and its identity at that time."""

    path: Path
    identity: int = 0
    end: int = 0
    lines: int = 0
    changed: int = 0


class RunIndex:
    """The runs of one set. Thread-safe.

    Args:
        kind: The kind of documents.
        root: The path; files outside of it are not read.
    """

    def __init__(self, kind: Kind, root: Path) -> None:
        self.kind = kind
        self.root = real_path(root)
        self.lock = threading.RLock()
        self.generation = 0
        self._reset()

    def _reset(self) -> None:
        self.generation += 1
        self.rows: list[list[Any]] = []
        self.problems: list[str] = []
        self._unreadable = 0
        self._files: dict[Path, _File] = {}
        self._order: list[Path] = []
        self._file_of = array("q")
        self._offsets = array("q")
        self._lengths = array("q")
        self._text = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the index, and has no name
        self._text_ends = array("q")
        self._row_of_text = array("q")
        self._text_of_row = array("q")
        self._row_of_key: dict[tuple[str, int | None], int] = {}

    def refresh(self, files: Sequence[Path]) -> None:
        """Read new lines of the set's files, in order.

        Raises:
            OSError: a file cannot be read.
        """
        with self.lock:
            inside = [path for path in files if real_path(path).is_relative_to(self.root)]
            if any(self._was_replaced(entry, inside) for entry in self._files.values()):
                self._text.close()
                self._reset()
            for path in inside:
                self._read_on(path)

    def _was_replaced(self, entry: _File, files: Sequence[Path]) -> bool:
        if entry.path not in files:
            return True
        status = entry.path.stat()
        whole = self.kind == "run" and entry.end and status.st_mtime_ns != entry.changed
        return bool(whole) or status.st_ino != entry.identity or status.st_size < entry.end

    def _read_on(self, path: Path) -> None:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            entry = self._files.get(path)
            if entry is None:
                entry = self._files[path] = _File(path, identity=status.st_ino)
                self._order.append(path)
            if status.st_size <= entry.end:
                return
            entry.changed = status.st_mtime_ns
            number = self._order.index(path)
            for offset, line in self._documents(file, entry):
                self._add(number, offset, line, entry)

    def _documents(self, file: Any, entry: _File) -> Iterator[tuple[int, bytes]]:
        """Documents with their positions: the whole file, or its complete new lines."""
        file.seek(entry.end)
        if self.kind == "run":
            data = file.read()
            entry.end = len(data)
            yield 0, data
            return
        for line in file:
            if not line.endswith(b"\n") and not is_object(line):
                return  # still being written
            start, entry.end = entry.end, entry.end + len(line)
            entry.lines += line.endswith(b"\n")
            if line.strip():
                yield start, line.removesuffix(b"\n")

    def _add(self, file: int, offset: int, line: bytes, entry: _File) -> None:
        try:
            run = self._short(line)
            row, words = row_of(run), searchable(run).encode("utf-8", errors="replace")
        except Unreadable as error:
            self._unreadable += 1
            if self._unreadable <= _PROBLEMS:
                where = f", line {entry.lines}," if self.kind != "run" else ""
                self.problems.append(f"{entry.path.name}{where} {error}")
            return
        if self.kind == "run":
            row[0] = entry.path.name
        place = self._place(row)
        if place is None:
            return
        self.rows[place : place + 1] = [row]
        for values, value in (
            (self._file_of, file),
            (self._offsets, offset),
            (self._lengths, len(line)),
            (self._text_of_row, len(self._text_ends)),
        ):
            values[place : place + 1] = array("q", [value])
        self._row_of_text.append(place)
        self._text.seek(0, os.SEEK_END)
        self._text.write(words + b"\n")
        self._text_ends.append((self._text_ends[-1] if self._text_ends else 0) + len(words) + 1)

    def _place(self, row: list[Any]) -> int | None:
        """The number of a row: a new one, or that of the same rollout; None if the row there is better."""
        if self.kind != "training":
            return len(self.rows)
        place = self._row_of_key.setdefault((row[_KEY], row[_STEP]), len(self.rows))
        if place < len(self.rows):
            if row[_OUTCOME] == "failed" and self.rows[place][_OUTCOME] != "failed":
                return None
            self._row_of_text[self._text_of_row[place]] = _REPLACED
            self.generation += 1
        return place

    def _short(self, line: bytes) -> dict[str, Any]:
        try:
            return plain(without_bulk(line, self.kind), self.kind)
        except Unreadable:
            return plain(line, self.kind)

    @property
    def unread(self) -> int:
        """Lines that could not be read."""
        return self._unreadable

    def document(self, number: int) -> dict[str, Any]:
        """A run in the structure of `documents.plain`, read from its file.

        Raises:
            IndexError: there is no such run.
            Unreadable: the file has changed in the meantime.
            OSError: the file cannot be read.
        """
        with self.lock:
            if not 0 <= number < len(self.rows):
                raise IndexError(number)
            path = self._order[self._file_of[number]]
            offset, length = self._offsets[number], self._lengths[number]
        with path.open("rb") as file:
            file.seek(offset)
            return plain(file.read(length), self.kind)

    def search(self, query: str) -> list[int]:
        """The numbers of the runs that contain all words and "quoted phrases" of the query."""
        with self.lock:
            hits = [self._holding(words.encode("utf-8", errors="replace")) for words in words_of(query)]
        return sorted(set.intersection(*hits)) if hits else list(range(len(self.rows)))

    def _holding(self, words: bytes) -> set[int]:
        matches: set[int] = set()
        ends = self._text_ends
        first = 0
        while first < len(ends):
            start = ends[first - 1] if first else 0
            last = max(first + 1, bisect_right(ends, start + _BLOCK))
            self._text.seek(start)
            block = self._text.read(ends[last - 1] - start)
            place = block.find(words)
            while place >= 0:
                run = bisect_right(ends, start + place, first, last)
                matches.add(self._row_of_text[run])
                place = block.find(words, ends[run] - start)
            first = last
        return matches - {_REPLACED}

    def words(self, number: int) -> str:
        """The searchable text of a run."""
        with self.lock:
            place = self._text_of_row[number]
            start = self._text_ends[place - 1] if place else 0
            self._text.seek(start)
            return self._text.read(self._text_ends[place] - start).decode("utf-8").rstrip("\n")


def words_of(query: str) -> list[str]:
    """The words of a query in lower case; phrases in double quotes are kept together."""
    parts = query.lower().split('"')
    quoted = [part.strip() for part in parts[1::2] if part.strip()]
    return quoted + [word for part in parts[::2] for word in part.split()]
