"""Everything the page can request, from a server or from a single file: sets, rows, runs, figures, searches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.view.comparison import comparison
from evals.view.details import details
from evals.view.documents import FIELDS, KINDS
from evals.view.sources import VALIDATIONS, Source, find_sources
from evals.view.words import WORDS

_CHOICE = re.compile(r"(?P<set>\d{1,6})(?:@(?P<step>\d{1,12}))?", re.ASCII)
_STEP = FIELDS.index("step")


class Unknown(LookupError):
    """There is no such set or run, or its index was rebuilt after the page read its rows."""


class Library:
    """The sets of runs in some paths.

    Args:
        paths: The paths.

    Raises:
        ConfigError, DataError: see `sources.find_sources`.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.sources = find_sources(paths)
        self.refresh()

    def refresh(self) -> None:
        """Read everything new."""
        for source in self.sources:
            source.refresh()

    def overview(self) -> dict[str, Any]:
        """All sets, without their runs."""
        return {
            "fields": FIELDS,
            "kinds": KINDS,
            "words": WORDS,
            "sources": [source.described() | {"held_out": self._held_out(source)} for source in self.sources],
        }

    def _held_out(self, source: Source) -> int | None:
        """The number of the set with a training's held-out runs."""
        places = [number for number, other in enumerate(self.sources) if other.path == source.path / VALIDATIONS]
        return places[0] if places else None

    def rows(self, source: int, start: int = 0) -> dict[str, Any]:
        """The rows of a set, beginning with number `start`."""
        index = self._source(source).index
        with index.lock:
            return {"generation": index.generation, "start": start, "rows": index.rows[start:]}

    def run(self, source: int, number: int, generation: int) -> dict[str, Any]:
        """A run in full.

        Raises:
            Unknown: there is no such run, or the set has another generation.
            Unreadable, OSError: its file has changed in the meantime.
        """
        held = self._source(source)
        if held.index.generation != generation:
            raise Unknown
        try:
            run = details(held.index.document(number), held.tokens)
        except IndexError:
            raise Unknown from None
        return run | {"key": held.index.rows[number][0]}

    def search(self, source: int, query: str) -> dict[str, Any]:
        """The numbers of the runs that match a query."""
        index = self._source(source).index
        with index.lock:
            return {"generation": index.generation, "found": index.search(query)}

    def facts(self, source: int) -> dict[str, Any]:
        """A set's settings and, for a training run, its figures and alarms."""
        held = self._source(source)
        return {"settings": held.settings(), **held.metrics()}

    def compare(self, a: str, b: str) -> dict[str, Any]:
        """What changes from one set to another, see `comparison`.

        Args:
            a: a set's number, or `NUMBER@STEP` for one step of a training run.
            b: what is compared with it.

        Raises:
            Unknown: there is no such set.
        """
        return comparison(self._chosen(a), self._chosen(b))

    def _chosen(self, name: str) -> list[list[Any]]:
        if not (match := _CHOICE.fullmatch(name)):
            raise Unknown
        index = self._source(int(match["set"])).index
        with index.lock:
            rows = list(index.rows)
        step = match["step"]
        return rows if step is None else [row for row in rows if str(row[_STEP]) == step]

    def _source(self, number: int) -> Source:
        if not 0 <= number < len(self.sources):
            raise Unknown
        return self.sources[number]
