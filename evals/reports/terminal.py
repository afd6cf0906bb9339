"""Tables for people at a terminal; files and pipes get Markdown."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from evals.reports.cells import Cells
from evals.reports.compare import Comparison
from evals.reports.compare import as_markdown as compared
from evals.reports.compare import cells as compared_cells
from evals.reports.compare import head as compared_head
from evals.reports.compare import verdict as compared_verdict
from evals.reports.markdown import markdown, tables
from evals.reports.metrics import Summary
from evals.reports.sweep import sweep_tables, sweep_text
from evals.reports.turn_limits import Curve

_GAP = 2
"""Columns between two cells."""


def print_report(summaries: Sequence[Summary]) -> None:
    """Print the report as what standard output is fit for."""
    if not sys.stdout.isatty():
        sys.stdout.write(markdown(summaries) + "\n")
        return
    for title, cells in tables(summaries):
        _print(title, cells)


def print_comparison(comparison: Comparison) -> None:
    """Print a comparison as what standard output is fit for."""
    if not sys.stdout.isatty():
        sys.stdout.write(compared(comparison) + "\n")
        return
    _print(compared_head(comparison), compared_cells(comparison))
    sys.stdout.write("\n".join(compared_verdict(comparison)) + "\n")


def print_sweep(curves: Sequence[Curve]) -> None:
    """Print the tables of a sweep as what standard output is fit for."""
    if not sys.stdout.isatty():
        sys.stdout.write(sweep_text(curves))
        return
    for title, cells in sweep_tables(curves):
        _print(title, cells)


def _print(title: str, cells: Cells) -> None:
    """An aligned table; one that is too wide lies on its side, a line for each of its columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if _width(cells) > console.width and len(cells) <= len(cells[0]):
        cells = [list(column) for column in zip(*cells, strict=True)]
    table = Table(
        box=None, title=Text(title, style="bold"), title_justify="left", pad_edge=False, padding=(0, _GAP, 0, 0)
    )
    for number, name in enumerate(cells[0]):
        numeric = number > 0 and all(row[number][:1].isdigit() and len(row[number]) < 12 for row in cells[1:])
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold", header_style="dim")
    for row in cells[1:]:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    console.print()


def _width(cells: Cells) -> int:
    columns = zip(*cells, strict=True)
    return sum(max(map(len, column)) + _GAP for column in columns)
