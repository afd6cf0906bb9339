"""Writes the page and all its data to a single file that needs neither server nor network.

Runs are compressed in blocks, so that the file stays small and opening a run only decompresses one block, which
browsers support natively (`DecompressionStream`).
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable, Iterator
from itertools import chain, combinations
from pathlib import Path
from typing import Any

from evals.view.documents import FIELDS, Unreadable
from evals.view.library import Library, Unknown
from evals.view.page import whole_page
from evals.view.values import write
from graph.errors import ConfigError
from graph.output import output_file

_BLOCK = 2 << 20
"""Approximate size of a block in bytes of JSON."""

MOST_PAIRS = 60
"""Pairs of sets whose comparison is in the file; it takes a moment each."""

_HERE = "<!-- data -->"


def export(library: Library, path: Path, on_run: Callable[[], None] | None = None) -> int:
    """Write the file atomically; returns its size in bytes.

    Args:
        library: Its content.
        path: The file.
        on_run: Called after each run.

    Raises:
        ConfigError: the file cannot be written.
    """
    before, after = whole_page(_HERE).split(_HERE)
    size = 0
    try:
        with output_file(path) as file:
            for part in chain([before.encode("utf-8")], _elements(library, on_run), [after.encode("utf-8")]):
                size += file.write(part)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}); choose another file for --export.") from None
    return size


def _elements(library: Library, on_run: Callable[[], None] | None) -> Iterator[bytes]:
    """The data, element by element, so that at most one block is in memory."""
    yield _element("overview", library.overview())
    yield _element("comparisons", _comparisons(library))
    for number, source in enumerate(library.sources):
        yield _element(f"facts-{number}", library.facts(number))
        yield _element(f"rows-{number}", library.rows(number))
        yield _element(f"words-{number}", [source.index.words(n) for n in range(len(source.index.rows))])
        starts = []
        for block, (start, runs) in enumerate(_blocks(library, number, on_run)):
            starts.append(start)
            yield _packed(f"runs-{number}-{block}", b"[" + b",".join(runs) + b"]")
        yield _element(f"starts-{number}", starts)


def _comparisons(library: Library) -> dict[str, dict[str, Any]]:
    """What the page may be asked to compare: each set with each later one, and a training run's ends."""
    pairs = list(combinations(map(str, range(len(library.sources))), 2))[:MOST_PAIRS]
    for number, source in enumerate(library.sources):
        steps = {row[FIELDS.index("step")] for row in source.index.rows} - {None}
        if source.kind == "training" and steps:
            pairs.append((f"{number}@{min(steps)}", f"{number}@{max(steps)}"))
    return {f"{a}|{b}": library.compare(a, b) for a, b in pairs}


def _blocks(library: Library, number: int, on_run: Callable[[], None] | None) -> Iterator[tuple[int, list[bytes]]]:
    """Blocks of runs in order, each with the number of its first run."""
    index = library.sources[number].index
    runs: list[bytes] = []
    start, size = 0, 0
    for run in range(len(index.rows)):
        try:
            runs.append(write(library.run(number, run, index.generation)))
        except (Unknown, Unreadable, OSError):
            runs.append(b"null")  # its file has changed; the page says so
        size += len(runs[-1])
        if on_run:
            on_run()
        if size >= _BLOCK:
            yield start, runs
            runs, start, size = [], run + 1, 0
    if runs:
        yield start, runs


def _element(name: str, value: Any) -> bytes:
    return _packed(name, write(value))


def _packed(name: str, data: bytes) -> bytes:
    packed = base64.b64encode(gzip.compress(data, compresslevel=6, mtime=0))
    return b'<script type="application/octet-stream" id="%b">%b</script>\n' % (name.encode("ascii"), packed)
