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

_HEAD = re.compile(r"\[\d+\] ")
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
    for line in result.splitlines():
        if _HEAD.match(line):
            head = line
            continue
        sentences = [sentence for sentence in split_sentences(line) if values.are_in(sentence)]
        if sentences:
            kept += [head, " ".join(sentences)] if head else [" ".join(sentences)]
            head = ""
    return "\n".join(kept) or result
