"""Counts with their nouns."""

from __future__ import annotations

import pytest

from tools.counts import many


@pytest.mark.parametrize(
    ("number", "noun", "plural", "words"),
    [
        (1, "update", "", "1 update"),
        (0, "update", "", "0 updates"),
        (1200, "held-out task", "", "1,200 held-out tasks"),
        (1, "micro-batch", "micro-batches", "1 micro-batch"),
        (2, "micro-batch", "micro-batches", "2 micro-batches"),
    ],
)
def test_the_noun_agrees_with_the_count(number: int, noun: str, plural: str, words: str) -> None:
    assert many(number, noun, plural) == words
