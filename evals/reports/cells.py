"""Tables as cells, and how numbers are written in them."""

from __future__ import annotations

Cells = list[list[str]]
"""Rows of equal length, the first of them the head."""


def percent(rate: float) -> str:
    """A rate in [0, 1] as a percentage with one decimal."""
    return f"{100 * rate:.1f} %"


def table(cells: Cells) -> str:
    """Cells as a Markdown table, the first row as its head."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in cells]
    lines.insert(1, "|" + " --- |" * len(cells[0]))
    return "\n".join(lines)
