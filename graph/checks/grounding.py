"""Compares the numbers, names and words a model writes with its sources.

Small models do sums in their heads, state numbers from memory, use example values instead of facts, and overlook
what is in front of them. The comparisons rely on capital letters, spaces and English words (`graph.checks.english`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

from graph.checks.amounts import Amounts, told_in, written_in


def unsupported_numbers(claim: str, sources: Iterable[str]) -> list[str]:
    """The numbers in `claim` that are in no source, as written.

    Numbers are compared by value and without their sign, so 1,260 equals 1260, and 12.5 % equals 0.125. A claim may
    round a source's number to its own decimal places.
    """
    told = Amounts(set[Decimal]().union(*map(told_in, sources)))
    return [
        amount.text
        for amount in written_in(claim)
        if not any(map(told.tell, amount.values)) and not all(map(told.tell, amount.parts))
    ]


WEEKDAY = r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day"
"""Pattern of a weekday's name, in lower case."""


def unsupported_weekdays(claim: str, sources: Iterable[str]) -> list[str]:
    """The weekdays in `claim` that no source names, in full or shortened (Tue, Tues)."""
    told = " ".join(sources)
    days = re.findall(WEEKDAY, claim, re.IGNORECASE)
    return [day for day in days if not re.search(rf"\b{day}|\b(?:{day[:3]}|{day[:-3]})\b", told, re.IGNORECASE)]


_CAPITALISED = r"[A-Z][a-z]\w+"
INSIDE = r"(?:(?<=[\w,;&'’] )|(?<=[\w,;] [(\"“'‘])|(?<=\w[/'’–-]))"
"""Pattern of a place inside a sentence: a word or a comma stands before it, and so no sentence, line or item begins."""
_NAME = re.compile(rf"{INSIDE}\b{_CAPITALISED}")
FULL_NAME = re.compile(rf"{_NAME.pattern}(?:(?:['’]s?)? {_CAPITALISED})*")
"""A name with all its words: Golden Gate Bridge, Saint Orla's Hospital."""


def names_of(text: str) -> list[str]:
    """The capitalised words inside the sentences of a text."""
    return _NAME.findall(text)


def unsupported_names(claim: str, sources: Iterable[str]) -> list[str]:
    """The names in `claim`, word by word, that are in no source."""
    words = set().union(*map(content_words, sources))
    return [name for name in names_of(claim) if not content_words(name) <= words]


TELLS_WHICH = re.compile(r"\d|[\"“«]|\b[A-Z]{3,}\b")
"""A number, a quotation or letters that stand for something: what a text is about."""


def names_something(text: str) -> bool:
    """Whether a text contains a name, a number or a quotation: a search without one returns anything."""
    return bool(_NAME.search(text) or TELLS_WHICH.search(text))


_WORD = re.compile(r"\w{3,}")
_COMMON_WORDS = """about all amount and answer any are compute did does each find for from had has have how its many
much name not number one out per text that the their they this total was were what when where which who whom whose why
will with"""
_COMMON = frozenset(_COMMON_WORDS.split())


def shared_words(question: str, text: str) -> float:
    """The share of a question's content words that occur in a text, 0 to 1; 0 if it has none."""
    words = content_words(question)
    return len(words & content_words(text)) / len(words) if words else 0.0


def content_words(text: str) -> set[str]:
    """The words of a text that carry its content: three letters or more, no common words, without a plural's s."""
    words = set(_WORD.findall(text.casefold())) - _COMMON
    return {word if word.endswith("ss") else word.removesuffix("s") for word in words}
