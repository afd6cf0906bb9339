"""Where a run's time goes: spans of models, tools, sandbox and waiting, noted by whoever spends them.

Nothing is kept unless somebody has opened a record around the run:

    with recorded() as spans:
        await agent.run(...)

Spans may lie inside one another (a tool's holds that of the sandbox it uses) and beside one another (parallel
branches); `training.rollouts.time` makes sums of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, NamedTuple

SpanKind = Literal["model", "tools", "sandbox", "reward", "wait"]


class Span(NamedTuple):
    """A piece of a run's time; readings of `time.perf_counter`."""

    kind: SpanKind
    name: str
    """The role, the tool, or what is waited for."""
    began: float
    ended: float


_record: ContextVar[list[Span] | None] = ContextVar("spans", default=None)


@contextmanager
def recorded() -> Iterator[list[Span]]:
    """Record the spans of all that is started inside the block, in tasks and threads too."""
    spans: list[Span] = []
    token = _record.set(spans)
    try:
        yield spans
    finally:
        _record.reset(token)


def note_span(kind: SpanKind, name: str, began: float, ended: float | None = None) -> None:
    """Note a span that has ended, just now by default, if a record is open."""
    if (spans := _record.get()) is not None:
        spans.append(Span(kind, name, began, time.perf_counter() if ended is None else ended))
