"""Texts of models and tools made fit for a terminal. Nothing heavy is imported here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tools.counts import many

LONGEST: Final = 12
"""Lines of a text that are shown; the rest is counted."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Line:
    """A labelled text; the label stands before its first line only."""

    label: str
    text: str
    style: str = ""
    seconds: float = 0.0
    """What the module took; shown with the label."""


def printable(text: str) -> str:
    """A text without what would steer a terminal: control characters, and halves of characters, become a sign."""
    clean = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
    return clean.encode("utf-8", "replace").decode("utf-8")


def clipped(text: str) -> list[str]:
    """The printable lines of a text that are shown."""
    lines = printable(text.strip()).splitlines() or [""]
    return lines if len(lines) <= LONGEST else [*lines[:LONGEST], f"… {many(len(lines) - LONGEST, 'more line')}"]
