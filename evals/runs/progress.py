"""How far an evaluation is, on standard error: a bar in a terminal, a line now and then elsewhere.

Also a `graph.models.progress.Listener`: what the models keep people waiting for before the first question is shown in
the same place.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from tools.counts import many

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from evals.results import Result

LOG_EVERY: Final = 10.0
"""Seconds between two lines where there is no terminal."""


class RunProgress:
    """Counts the answers and shows nothing; the base of those that do.

    Args:
        title: of the benchmark.
        total: answers that are wanted.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.done = 0
        self.right = 0
        self.failed = 0
        self.words = ""
        """What is waited for before the first question."""

    def __enter__(self) -> RunProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop showing it."""

    def go_on(self, done: int, folder: object) -> None:
        """Say that an earlier run is continued."""
        if done:
            self.say(f"Going on after {done:,} of {many(self.total, 'answer')} in {folder}.")

    def advance(self, result: Result) -> None:
        """One more answer."""
        self.words = ""
        self.done += 1
        self.right += result.exact
        self.failed += result.failure is not None

    @property
    def score(self) -> str:
        """The running accuracy."""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{100 * self.right / self.done:.1f} % right{failed}" if self.done else ""

    def stage(self, words: str) -> None:
        """See `graph.models.progress.Listener`."""
        self.words = words

    def progress(self, done: float, total: float, unit: str) -> None:
        """See `graph.models.progress.Listener`. Prompts are read by the dozen, so nothing is said of them."""
        if unit != "tokens":
            self.words = f"{self.words.partition(':')[0]}: {done:,.0f} of {total:,.0f} {unit}"

    def say(self, words: str) -> None:
        """Tell the user something in passing."""
        sys.stderr.write(f"{words}\n")


class LoggedProgress(RunProgress):
    """A line now and then."""

    def __init__(self, title: str, total: int) -> None:
        super().__init__(title, total)
        self._ended = threading.Event()
        self._began = time.monotonic()

    def __enter__(self) -> LoggedProgress:
        threading.Thread(target=self._repeat, name="log", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()

    def _repeat(self) -> None:
        while not self._ended.wait(LOG_EVERY):
            seconds = f"{time.monotonic() - self._began:.0f} s"
            counted = f"{self.done:,} of {many(self.total, 'answer')}"
            self.say(f"{self.title}: {', '.join(filter(None, (self.words or counted, self.score, seconds)))}")


class BarProgress(RunProgress):
    """A bar with the running accuracy and the time that is left."""

    def __init__(self, title: str, total: int) -> None:
        super().__init__(title, total)
        self._bar, self._row = _bar(title, total)

    def __enter__(self) -> BarProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not self.done:  # an empty bar above an error says nothing
            self._bar.update(self._row, visible=False)
        self._bar.stop()

    def advance(self, result: Result) -> None:
        """One more answer."""
        super().advance(result)
        self._bar.update(self._row, completed=self.done, score=self.score)

    def stage(self, words: str) -> None:
        """See `graph.models.progress.Listener`."""
        super().stage(words)
        self._bar.update(self._row, score=self.words)

    def progress(self, done: float, total: float, unit: str) -> None:
        """See `graph.models.progress.Listener`."""
        super().progress(done, total, unit)
        if not self.done:
            self._bar.update(self._row, score=self.words)

    def say(self, words: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(words, highlight=False, markup=False)


def _bar(title: str, total: int) -> tuple[Progress, TaskID]:
    from rich import progress as rich
    from rich.console import Console

    bar = rich.Progress(
        rich.SpinnerColumn(),
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[score]}"),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    return bar, bar.add_task(title, total=total, score="")


def run_progress(title: str, total: int, *, shown: bool) -> RunProgress:
    """What suits standard error."""
    if not shown:
        return RunProgress(title, total)
    return BarProgress(title, total) if sys.stderr.isatty() else LoggedProgress(title, total)
