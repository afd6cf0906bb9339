"""Detects search results that leak the benchmark itself.

There are two signs: the result comes from a page of the benchmark, or it quotes the question nearly verbatim with the
answer close by. Reports list such results; with a guard around the tools they never reach the agent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from langchain_core.tools import BaseTool

from evals.task import Task

NO_SEARCH = frozenset(("python", "generalist"))
"""Tools whose results come from the agent's own code or model; they are not examined."""

MIN_WORDS = 6
"""Shorter questions cannot be told from ordinary text."""
SHINGLE = 3
NEARLY = 0.7
"""Share of the question's shingles (sequences of `SHINGLE` words) that must occur in a result."""
NEAR_WORDS = 200
"""Maximum distance in words between the quoted question and the answer."""
MAX_TEXT = 200_000

current_task: ContextVar[Task | None] = ContextVar("current_task", default=None)
"""The question of the current asyncio task; one graph and its tools serve all questions concurrently."""

_WORD = re.compile(r"\w+")
_ADDRESS = re.compile(r"https?://[^\s\"'<>)\]]+", re.IGNORECASE)


def find_leak(task: Task, text: str, pages: Sequence[str] = ()) -> str | None:
    """Why a tool result looks like the benchmark itself, in one sentence; None if it does not.

    Args:
        task: The question.
        text: A tool's result.
        pages: Parts of the addresses of the benchmark's own pages, in lower case.
    """
    text = text[:MAX_TEXT]
    for address in _ADDRESS.findall(text):
        if any(page in address.lower() for page in pages):
            return f"A result comes from the benchmark's own page {address[:200]}."
    if _quotes_question_and_answer(task, text):
        return "A result holds the question nearly word for word together with its answer."
    return None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _quotes_question_and_answer(task: Task, text: str) -> bool:
    question, words = _words(task.question), _words(text)
    if len(question) < MIN_WORDS or len(words) < len(question) * NEARLY:
        return False
    shingles = {tuple(question[i : i + SHINGLE]) for i in range(len(question) - SHINGLE + 1)}
    starts = [i for i in range(len(words) - SHINGLE + 1) if tuple(words[i : i + SHINGLE]) in shingles]
    quoted_shingles = {tuple(words[i : i + SHINGLE]) for i in starts}
    if len(quoted_shingles) < NEARLY * len(shingles):
        return False
    quoted = {position for start in starts for position in range(start, start + SHINGLE)}
    nearby = range(max(0, starts[0] - NEAR_WORDS), min(len(words), starts[-1] + SHINGLE + NEAR_WORDS))
    # The quoted question may itself name the answer ("A or B?"), so only the text beside it counts.
    beside = " ".join("|" if position in quoted else words[position] for position in nearby)
    return any((answer := " ".join(_words(text))) and f" {answer} " in f" {beside} " for text in task.answers)


def leaks_in(task: Task, turns: Iterable[Mapping[str, Any]], pages: Sequence[str] = ()) -> list[str]:
    """The distinct leaks among the tool results of a run's memory."""
    reasons = [
        find_leak(task, str(call.get("result") or ""), pages)
        for turn in turns
        if (turn.get("plan") or {}).get("tool_name") not in NO_SEARCH
        for call in turn.get("calls") or ()
    ]
    return list(dict.fromkeys(reason for reason in reasons if reason))


class GuardedTool(BaseTool):
    """A tool that withholds results which leak the answer to the current question."""

    inner: BaseTool
    pages: tuple[str, ...] = ()

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        return self._checked(self.inner.invoke(kwargs))

    async def _arun(self, *args: Any, **kwargs: Any) -> Any:
        return self._checked(await self.inner.ainvoke(kwargs))

    def _checked(self, result: Any) -> Any:
        task = current_task.get()
        if task is None or find_leak(task, str(result), self.pages) is None:
            return result
        return "This result was withheld: it quotes the question that is being answered. Search for the facts instead."


def guarded(tool: BaseTool, pages: Sequence[str]) -> BaseTool:
    """The tool with a guard around it, unless it does not search."""
    if tool.name in NO_SEARCH:
        return tool
    return GuardedTool(
        name=tool.name,
        description=tool.description,
        args_schema=tool.args_schema,
        metadata=tool.metadata,
        handle_tool_error=False,
        inner=tool,
        pages=tuple(pages),
    )
