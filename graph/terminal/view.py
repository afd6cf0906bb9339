"""What is shown of a run while it goes on, always on standard error: standard output is for the answer.

`TerminalView` prints each step when it has happened and below them, alive, what goes on right now. `PlainView` writes
plain lines, for logs. `View` shows nothing. The view is there before LangChain is, whose import takes a second: what
needs it is imported where it is used.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from graph.terminal.activity import WAITING, Activity
from graph.terminal.text import Line, clipped, printable

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from graph.state import State, Usage

NEXT = {"planner": "executor", "executor": "verifier", "verifier": "planner", "generator": ""}
LOG_FIRST: Final = 2.0
"""Seconds of silence after which a log is told what is going on."""
LOG_EVERY: Final = 10.0
"""Seconds after which it is told that this is still going on."""
_LABEL: Final = 9
_SHOWN_LINES: Final = 3
"""Lines of a growing text that are shown."""


class View:
    """Follows a run and shows nothing of it; the base of those that do. Also a `graph.models.progress.Listener`."""

    def __init__(self) -> None:
        self.activity = Activity()
        self.turn = 0
        self._tool = ""
        self._finished = ""

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop showing what goes on."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to a human for as long as the block takes."""
        yield

    def begin(self, who: str, words: str = WAITING) -> None:
        """Somebody begins to work."""
        self.activity = Activity(who, words)

    def stage(self, words: str) -> None:
        """See `graph.models.progress.Listener`."""
        self.activity.stage(words)

    def progress(self, done: float, total: float, unit: str) -> None:
        """See `graph.models.progress.Listener`."""
        self.activity.progress(done, total, unit)

    def hear(self, role: str, chunk: BaseMessage) -> None:
        """A piece of what the model of a role writes; what comes after its end (the count of tokens) is left out."""
        if chunk.id and chunk.id == self._finished:
            return
        if role != self.activity.who:
            self.begin(role)
        self.activity.hear(chunk)
        if not chunk.response_metadata.get("finish_reason"):
            return
        self._finished = chunk.id or ""
        if role == "analyst":  # the planner comes next, within the same module
            self.begin("planner")
        else:
            self.activity.stage(f"calling {self._tool}" if role == "executor" else WAITING)

    def step(self, module: str, update: Mapping[str, Any]) -> None:
        """A module has written into the state."""
        from graph.terminal.steps import lines_of

        if plan := update.get("plan"):
            self._tool = plan["tool_name"]
            self.turn += module == "planner"
        self.show(module, lines_of(module, update))
        self.begin("generator" if update.get("ended_by") else NEXT.get(module, ""))

    def show(self, module: str, lines: list[Line]) -> None:
        """Show a step."""

    def say(self, words: str) -> None:
        """Tell the user something that matters, whatever else is shown."""
        sys.stderr.write(f"{words}\n")

    def finish(self, state: State, *, costs: bool = True) -> None:
        """Show how the run ended, and what each role has cost."""
        self.turn = 0


class PlainView(View):
    """Plain lines without control codes, for files and pipes."""

    def __init__(self) -> None:
        super().__init__()
        self._last = time.monotonic()
        self._told: Activity | None = None
        self._ended = threading.Event()

    def __enter__(self) -> PlainView:
        self._ended = threading.Event()
        threading.Thread(target=self._repeat, args=(self._ended,), name="log", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Write nothing between a question and its answer."""
        self._ended.set()
        try:
            yield
        finally:
            self.__enter__()

    def _repeat(self, ended: threading.Event) -> None:
        """Tell what goes on when nothing else has been told for a while."""
        while not ended.wait(0.5):
            patience = LOG_EVERY if self._told is self.activity else LOG_FIRST
            if time.monotonic() - self._last >= patience:
                self._told = self.activity
                self._write(self.activity.who, self.activity.line())

    def stage(self, words: str) -> None:
        """See `graph.models.progress.Listener`."""
        super().stage(words)
        self._told = None

    def show(self, module: str, lines: list[Line]) -> None:
        """Write the lines of a step."""
        for line in lines:
            if line.label == "planner":
                self._write(f"turn {self.turn}", "")
            first, *rest = clipped(line.text)
            self._write(line.label, first)
            for more in rest:
                self._write("", more)

    def say(self, words: str) -> None:
        """Write a line."""
        self._write("", words)

    def finish(self, state: State, *, costs: bool = True) -> None:
        """Write how the run ended, and what each role has cost."""
        if costs:
            plain = Console(file=sys.stderr, force_terminal=False, color_system=None)
            plain.print(usage_table(state.get("usage", {})))
        for line in _ended(state):
            self._write("", line)
        super().finish(state)

    def _write(self, label: str, text: str) -> None:
        self._last = time.monotonic()
        sys.stderr.write(f"{label:{_LABEL}} {text}".rstrip() + "\n")
        sys.stderr.flush()


class TerminalView(View):
    """Steps as they happen, and what goes on right now.

    Args:
        console: where to show it.
        steps: whether the steps are shown too; without them nothing is left when the run has ended.
    """

    def __init__(self, console: Console, *, steps: bool = True) -> None:
        super().__init__()
        self._console = console
        self._steps = steps
        self._spinner = Spinner("dots")
        self._live = self._new_live()

    def _new_live(self) -> Live:
        # Standard output may lead elsewhere; what is printed there must not be drawn into this terminal.
        return Live(self, console=self._console, transient=True, refresh_per_second=8, redirect_stdout=False)

    def __enter__(self) -> TerminalView:
        self._live = self._new_live()  # a used one would still take the lines away that it drew last
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the moving lines away: they would run over what is typed."""
        self._live.stop()
        try:
            yield
        finally:
            self.__enter__()

    def __rich__(self) -> RenderableType:
        """What goes on right now."""
        activity = self.activity
        self._spinner.update(text=Text.assemble((f"{activity.who:{_LABEL - 2}} ", "bold"), activity.line()))
        width = self._console.width - _LABEL - 2
        tail = [
            Text(" " * (_LABEL + 1) + printable(line), style="dim", no_wrap=True, overflow="ellipsis")
            for line in activity.last_lines(width, _SHOWN_LINES)
        ]
        return Group(self._spinner, *tail)

    def show(self, module: str, lines: list[Line]) -> None:
        """Print the lines of a step above the moving ones."""
        if not self._steps:
            return
        for line in lines:
            if line.label == "analyst":
                body = Text(printable(line.text.strip()))
                self._console.print(Panel(body, title="analysis", title_align="left", border_style="dim"))
                continue
            if line.label == "planner":
                self._console.print(Rule(f"turn {self.turn}", align="left", style="dim"))
            self._console.print(_row(line))

    def say(self, words: str) -> None:
        """Print a line."""
        self._console.print(Text(words, style="dim"))

    def finish(self, state: State, *, costs: bool = True) -> None:
        """Print how the run ended, and what each role has cost."""
        if self._steps:
            if costs:
                self._console.print(usage_table(state.get("usage", {})))
            for line in _ended(state):
                self._console.print(Text(line, style="dim"))
        super().finish(state)


def _row(line: Line) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=_LABEL, style="bold")
    grid.add_column(overflow="fold", ratio=1)
    grid.add_column(justify="right", style="dim")
    seconds = f"{line.seconds:.1f} s" if line.label and line.seconds else ""
    grid.add_row(line.label, Text("\n".join(clipped(line.text)), style=line.style), seconds)
    return grid


def _ended(state: State) -> list[str]:
    from graph.words import ended_words, unsupported_words

    ended = ended_words(len(state.get("memory", [])), state.get("seconds", 0.0), state.get("ended_by", ""))
    return list(filter(None, (ended, unsupported_words(state))))


def usage_table(usage: Mapping[str, Usage]) -> Table:
    """Calls, tokens and seconds of each role."""
    from graph.words import USAGE_COLUMNS

    table = Table(box=None, pad_edge=False, header_style="dim", style="dim")
    table.add_column(USAGE_COLUMNS[0])
    for name in USAGE_COLUMNS[1:]:
        table.add_column(name, justify="right")
    for role, cost in usage.items():
        table.add_row(
            role,
            str(cost["calls"]),
            f"{cost['input_tokens']:,}",
            f"{cost['output_tokens']:,}",
            f"{cost['seconds']:.1f}",
        )
    return table
