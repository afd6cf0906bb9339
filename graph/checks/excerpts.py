"""What a small verifier is shown of the memory.

It reads a few dozen tokens a second on a laptop, and long passages lead it astray.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from langchain_core.tools import BaseTool

from graph.checks.amounts import told_in
from graph.rendering import arguments_text
from graph.state import State, ToolCall, Turn
from tools.card import card_of, fence_of
from tools.passages import split_sentences

Excerpt: TypeAlias = Callable[[State, Sequence[BaseTool]], State]
"""Gives the state as the verifier is shown it."""

_NUMBER = re.compile(r"\[\d+\] ")
_SENTENCE = re.compile(r"[.!?…][\"'”’)\]]*$")
_PAGE = re.compile(r"\(\w+://\S+\)$")
"""How a passage begins, how one without a title ends, and how the title of a page ends."""
_NAME = re.compile(r"\b[^\W\d_a-z]\w+")


def sentences_with_values(state: State, tools: Sequence[BaseTool]) -> State:
    """Of earlier passages, the sentences that tell a number or a name of the program being judged.

    A result without such a sentence is shown whole.
    """
    plan, memory = state.get("plan"), state.get("memory", [])
    programs = {tool.name for tool in tools if fence_of(tool) == "python"}
    if plan is None or plan["tool_name"] not in programs:
        return state
    values = _Values(" ".join(arguments_text(call) for call in state.get("calls", [])))
    found_by = {tool.name for tool in tools if card_of(tool).quotes_sources}
    shown = [_cut(turn, values) if turn["plan"]["tool_name"] in found_by else turn for turn in memory]
    return {**state, "memory": shown}


class _Values:
    """The numbers and names of a text."""

    def __init__(self, text: str) -> None:
        self._numbers = told_in(text)
        self._names = set(_NAME.findall(text))

    def are_in(self, sentence: str) -> bool:
        """Whether a sentence tells one of them."""
        return not self._numbers.isdisjoint(told_in(sentence)) or not self._names.isdisjoint(_NAME.findall(sentence))


def _cut(turn: Turn, values: _Values) -> Turn:
    calls: list[ToolCall] = [{**call, "result": _told(call["result"], values)} for call in turn["calls"]]
    return {**turn, "calls": calls}


def _told(result: str, values: _Values) -> str:
    """The lines of a result, cut to what tells a value, each passage under its head."""
    kept: list[str] = []
    head = ""
    lines = result.splitlines()
    for line, below in zip(lines, [*lines, None][1:], strict=True):
        if below is not None and _is_head(line, below):
            head = line
            continue
        number, text = _parted(line)
        sentences = [sentence for sentence in split_sentences(text) if values.are_in(sentence)]
        if sentences:
            kept += [*filter(None, [head]), number + " ".join(sentences)]
            head = ""
    return "\n".join(kept) or result


def _parted(line: str) -> tuple[str, str]:
    """The number before a passage, if it has one, and what follows."""
    number = _NUMBER.match(line)
    return (number[0], line[number.end() :]) if number else ("", line)


def _is_head(line: str, below: str) -> bool:
    """Whether a line is the title of what stands below it, which is no text itself."""
    if _NUMBER.match(line):
        return not _NUMBER.match(below) and not _SENTENCE.search(line)
    return _PAGE.search(line) is not None


def are_titled(result: str) -> bool:
    """Whether every passage of a result stands under a title."""
    begins = _beginnings(result)
    return bool(begins) and all(_is_head(*pair) for pair in begins)


def titles_of(result: str) -> list[str]:
    """The titles of a result's passages, each with its source behind it."""
    return [_parted(line)[1] for line, below in _beginnings(result) if _is_head(line, below)]


def sentences_of(result: str) -> list[str]:
    """The sentences of a result's passages, without the titles."""
    lines = result.splitlines()
    texts = (_parted(line)[1] for line, below in zip(lines, [*lines, ""][1:], strict=True) if not _is_head(line, below))
    return [sentence for text in texts for sentence in split_sentences(text)]


def _beginnings(result: str) -> list[tuple[str, str]]:
    """The first line of each passage, and the line below it."""
    lines = result.splitlines()
    return [(line, below) for line, below in zip(lines, [*lines, ""][1:], strict=True) if _NUMBER.match(line)]
