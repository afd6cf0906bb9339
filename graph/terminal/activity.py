"""What goes on right now, in one line: who works, at what, how far it is, for how long."""

from __future__ import annotations

import textwrap
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tools.counts import many

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

WAITING = "waiting for the model"
_KEPT = 2000
"""Characters of a growing text from which its last lines are taken."""


@dataclass
class Activity:
    """What one module does, from the moment it starts. Written by several threads, read by the display's own."""

    who: str = ""
    words: str = "starting"
    began: float = field(default_factory=time.monotonic)
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    tokens: int = 0
    """Tokens of the text so far; where the server does not count them, its pieces."""
    text: str = ""
    message: str = ""
    """Id of the message that is being written."""

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self.began

    def stage(self, words: str) -> None:
        """Something else begins."""
        self.words, self.done, self.total, self.unit = words or WAITING, 0.0, 0.0, ""

    def progress(self, done: float, total: float, unit: str) -> None:
        """So much of it is done. Tokens are those of a prompt that is being read."""
        if unit == "tokens":
            self.words, self.text, self.tokens = "reading the prompt", "", 0
        self.done, self.total, self.unit = done, total, unit

    def hear(self, chunk: BaseMessage) -> None:
        """A piece of the text that the model writes; the piece of another message begins a new text."""
        if chunk.id != self.message:
            self.message, self.text, self.tokens = chunk.id or "", "", 0
        thinking = str(chunk.additional_kwargs.get("reasoning_content") or "")
        piece = str(chunk.text) or thinking
        if piece:
            self.stage("writing" if str(chunk.text) else "thinking")
            self.text += piece
            self.tokens += 1
        usage = getattr(chunk, "usage_metadata", None)
        if usage and usage["output_tokens"]:
            self.tokens = usage["output_tokens"]

    def line(self) -> str:
        """The words, how far it is and the seconds."""
        parts = [self.words]
        if self.total:
            parts.append(f"{self.done:,.0f} of {self.total:,.0f} {self.unit}")
        if self.tokens:
            parts.append(many(self.tokens, "token"))
        return ", ".join([*parts, f"{self.seconds:.0f} s"])

    def last_lines(self, width: int, count: int) -> list[str]:
        """The end of the text, wrapped."""
        lines = [
            piece
            for line in self.text[-_KEPT:].splitlines()
            for piece in textwrap.wrap(line, max(width, 20), break_on_hyphens=False)
        ]
        return lines[-count:]
