"""Traces: the prompts and replies of a run, verbatim, and the times of all calls, for looking at the run afterwards.

A run is traced if a trace is open around it, as in `python -m graph --save`, the evals and training; otherwise nothing
is recorded. The trace is not part of the state, so checkpoints and prompts are not affected:

    with traced() as trace:
        state = await graph.ainvoke({"question": "..."})
    trace.as_dict()

The prompts of a run have much in common, so each text is stored once and referred to by its number.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Required

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from typing_extensions import TypedDict

from graph.state import Usage
from tools.spans import note_span


class _Timings(TypedDict, total=False):
    """What llama.cpp tells of a call."""

    reading_seconds: float
    """How long it took to read the prompt."""
    writing_seconds: float
    cached_tokens: int
    """Tokens of the prompt that it had read before."""


class TraceStep(_Timings, total=False):
    """One call of a model (`role`) or of a tool (`tool`)."""

    role: str
    tool: str
    turn: Required[int]
    """From 1; 0 is before the first."""
    started: Required[float]
    """Seconds from the run's beginning."""
    seconds: Required[float]
    prompt: list[list[str | int]]
    """Pairs of a message's type and the number of its text."""
    reply: int
    """Number of its text."""
    input_tokens: int
    output_tokens: int


class TraceRecord(TypedDict):
    """A trace as plain values."""

    texts: list[str]
    steps: list[TraceStep]
    """In the order in which they ended."""


class Trace:
    """The model and tool calls of one run, in the order in which they ended. Thread-safe.

    Args:
        before: The trace of an earlier part of the run, e.g. of an analysis that several runs share.
    """

    def __init__(self, before: TraceRecord | None = None) -> None:
        self._texts: dict[str, int] = {text: number for number, text in enumerate(before["texts"] if before else ())}
        self._steps: list[TraceStep] = list(before["steps"] if before else ())
        self._offset = max((step["started"] + step["seconds"] for step in self._steps), default=0.0)
        self._began = time.perf_counter()
        self._lock = threading.Lock()

    def asked(self, role: str, turn: int, messages: Sequence[BaseMessage], reply: AIMessage, began: float) -> None:
        """Record a call of a role's model; `began` is a `time.perf_counter` reading."""
        cost = reply.usage_metadata
        started, seconds = self._when(began)
        note_span("model", role, began)
        with self._lock:
            step = TraceStep(
                role=role,
                turn=turn,
                started=started,
                seconds=seconds,
                prompt=[[message.type, self._number(str(message.text))] for message in messages],
                reply=self._number(str(reply.text)),
                input_tokens=cost["input_tokens"] if cost else 0,
                output_tokens=cost["output_tokens"] if cost else 0,
            )
            self._steps.append({**step, **_timings(reply)})

    def called(self, tool: str, turn: int, began: float) -> None:
        """Record a tool call that has just ended."""
        started, seconds = self._when(began)
        note_span("tools", tool, began)
        with self._lock:
            self._steps.append(TraceStep(tool=tool, turn=turn, started=started, seconds=seconds))

    def as_dict(self) -> TraceRecord:
        """The trace so far."""
        return TraceRecord(texts=list(self._texts), steps=list(self._steps))

    def _when(self, began: float) -> tuple[float, float]:
        return round(self._offset + began - self._began, 4), round(time.perf_counter() - began, 4)

    def _number(self, text: str) -> int:
        # Interned, because a process that keeps thousands of runs would keep the standing prompts as often.
        return self._texts.setdefault(sys.intern(text), len(self._texts))


def _timings(reply: AIMessage) -> _Timings:
    """What llama.cpp tells of a call, and of the static part that was read for it; nothing of other servers."""
    timings = reply.response_metadata.get("timings")
    if not isinstance(timings, dict):
        return {}
    return _Timings(
        reading_seconds=round((timings.get("prompt_ms", 0.0) + timings.get("static_ms", 0.0)) / 1000, 4),
        writing_seconds=round(timings.get("predicted_ms", 0.0) / 1000, 4),
        cached_tokens=timings.get("cache_n", 0) - timings.get("static_n", 0),
    )


_open: ContextVar[Trace | None] = ContextVar("trace", default=None)


@contextmanager
def traced(before: TraceRecord | None = None) -> Iterator[Trace]:
    """Trace all calls inside the block, including those of tasks and threads started there."""
    token = _open.set(Trace(before))
    try:
        trace = _open.get()
        assert trace is not None
        yield trace
    finally:
        _open.reset(token)


def note_reply(role: str, turn: int, messages: Sequence[BaseMessage], reply: AIMessage, began: float) -> None:
    """Record a call of a role's model, if the run is traced."""
    if (trace := _open.get()) is not None:
        trace.asked(role, turn, messages, reply, began)


def note_call(tool: str, turn: int, began: float) -> None:
    """Record a tool call, if the run is traced."""
    if (trace := _open.get()) is not None:
        trace.called(tool, turn, began)


class ToolModel(UsageMetadataCallbackHandler):
    """Counts and traces the calls of a model that a tool uses itself.

    Args:
        role: The role that the calls count for.
        turn: Number of the turn in progress.
    """

    run_inline = True

    def __init__(self, role: str, turn: int) -> None:
        super().__init__()
        self._role = role
        self._turn = turn
        self._asked: dict[Any, tuple[list[BaseMessage], float]] = {}

    def usage(self, seconds: float) -> Usage:
        """The cost of a tool call that took `seconds`."""
        spent = self.usage_metadata.values()
        read, written = sum(part["input_tokens"] for part in spent), sum(part["output_tokens"] for part in spent)
        return Usage(calls=1, input_tokens=read, output_tokens=written, seconds=seconds)

    def on_chat_model_start(self, serialized: Any, messages: list[list[BaseMessage]], *, run_id: Any, **_: Any) -> None:
        """Remember the prompt until the reply arrives."""
        self._asked[run_id] = (messages[0], time.perf_counter())

    def on_llm_end(self, response: LLMResult, *, run_id: Any = None, **kwargs: Any) -> None:
        """Count the tokens and record the reply."""
        super().on_llm_end(response, run_id=run_id, **kwargs)
        messages, began = self._asked.pop(run_id, ([], time.perf_counter()))
        generation = response.generations[0][0]
        if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
            note_reply(self._role, self._turn, messages, generation.message, began)
