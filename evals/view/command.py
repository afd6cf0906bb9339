"""`python -m evals view`: shows runs, evaluations and training in a browser, or writes them to a file."""

from __future__ import annotations

import argparse
import asyncio
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from graph.errors import ConfigError
from tools.counts import many

if TYPE_CHECKING:
    from evals.view.library import Library


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `view`."""
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="a file of `python -m graph --save`, a folder of an evaluation or of a training run, or a folder of those",
    )
    parser.add_argument("--export", type=Path, metavar="FILE", help="write one self-contained HTML file and end")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="of the local server (default: a free one)")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")


def view(given: argparse.Namespace) -> int:
    """`view`: serve until Ctrl-C, or write the file.

    Raises:
        ConfigError, DataError: a path, the port or the file is invalid.
    """
    from rich.console import Console

    if not 0 <= given.port < 65536:
        raise ConfigError(f"--port is {given.port}; give a number from 0 to 65535.")
    from evals.view.library import Library

    with Console(stderr=True).status("reading the runs …"):
        library = Library(given.paths)
    _tell_problems(library)
    if given.export:
        return _export(library, given.export)
    try:
        asyncio.run(_serve(library, given.port, browser=not given.no_browser))
    except KeyboardInterrupt:
        sys.stderr.write("\n")
    return 0


def _tell_problems(library: Library) -> None:
    for source in library.sources:
        for problem in source.index.problems:
            sys.stderr.write(f"warning: {source.name}: {problem}; it is left out\n")


def _export(library: Library, path: Path) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from evals.view.export import export

    runs = sum(len(source.index.rows) for source in library.sources)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("runs", total=runs)
        size = export(library, path, lambda: bar.advance(row))
    sys.stderr.write(f"Page: {path} ({size / 1e6:.1f} MB, {many(runs, 'run')})\n")
    return 0


async def _serve(library: Library, port: int, *, browser: bool) -> None:
    from evals.view.server import Server

    async with Server(library, port) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stderr.write("The page is served to this machine only; Ctrl-C ends it.\n")
        if browser:
            await asyncio.to_thread(webbrowser.open, server.url)
        await asyncio.Event().wait()
