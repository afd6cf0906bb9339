"""Readers of replies run on the event loop: whatever a model repeats, they end at once."""

from __future__ import annotations

import itertools
import string
import time
from collections.abc import Callable

import pytest

from graph.parsing import json_text
from graph.parsing.answers import parse_answer
from graph.parsing.blocks import fenced_blocks
from graph.parsing.calls import calls_in
from graph.parsing.code import code_in
from graph.parsing.labels import Labels
from graph.parsing.plans import parse_plan
from graph.parsing.thinking import without_thinking
from graph.parsing.verdicts import parse_verdict

READERS: dict[str, Callable[[str], object]] = {
    "plan": lambda text: parse_plan(text, ("python", "search")),
    "verdict": parse_verdict,
    "answer": parse_answer,
    "calls": lambda text: calls_in(text, "search", {"type": "object"}, lambda _: None, 3),
    "code": lambda text: code_in(text, "python", "code", "python"),
    "thinking": without_thinking,
    "json": json_text.json_values,
}
FORMS = {
    "a rule": "I will search first.\n{}\nTool Name: python",
    "a banner in a dict": "Tool: python\nInput: {{'tea': 3,\n    {}\n    'milk': 2}}",
    "before a label": "{} Tool Name: python",
    "in a fence": "```python\nx = [1, {}\n]\n```",
}
LONG = 40_000
"""Marks of a line; a reader whose time grows with their square takes minutes."""
MARKS = [*string.punctuation, " ", "\n", "\t", "a", "1", "- ", "> ", "1. ", "# ", ", ", "<a>", "</", "\n\n", "[]", "{}"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reader", READERS)
def test_a_mark_that_is_repeated_holds_nobody_up(reader: str, form: str) -> None:
    for mark in MARKS:
        text = FORMS[form].format(mark * (2000 // len(mark)))
        began = time.thread_time()
        READERS[reader](text)
        assert time.thread_time() - began < 2, mark


@pytest.mark.parametrize("mark", ["*", "_", "`", "<", ">", "-", "- ", "1.", "1", " ", "\t", "a", "*a", "**: "])
def test_the_time_of_a_line_grows_with_its_length_only(mark: str) -> None:
    line = f"I search first {mark * (LONG // len(mark))}!"
    for read in (Labels({"tool": ("tool",)}).line, fenced_blocks, without_thinking):
        for text in (line, line.removeprefix("I search first ")):
            began = time.thread_time()
            read(text)
            assert time.thread_time() - began < 1


@pytest.mark.parametrize("tag", ["<answer>", "</answer>", "<{}>", "<{0}></not {0}>", "<aa></bb>"])
def test_the_time_of_tags_that_nobody_closes_grows_with_the_length_only(tag: str) -> None:
    names = ("".join(letters) for letters in itertools.product(string.ascii_letters, repeat=3))
    text = "".join(tag.format(name) for name in itertools.islice(names, LONG // len(tag)))
    began = time.thread_time()
    Labels({"answer": ("answer",)}).in_tags(text)
    assert time.thread_time() - began < 1
