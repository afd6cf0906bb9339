"""Where the literals of a call come from: the question, the chat, an accepted result, or custom.

A model that lacks a fact writes a program about an example value, or about what it believes to remember, and the
result looks like any other. So a number, a date or a name that has no source is refused, and the planner is told which
fact is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from graph.checks.amounts import Amounts, amounts_in, numbers_of
from graph.checks.customary import is_customary, is_round
from graph.checks.grounding import content_words, names_of
from graph.checks.literals import Literal, literals_of

MARKS = re.compile(r"(?m)^\[\d+\] |\((?:\S+#\S*|\w+://\S+)\)$")
"""A passage's number and where it is from: neither tells anything."""


@dataclass(frozen=True)
class Sources:
    """What a call may be about."""

    amounts: Amounts
    words: frozenset[str]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Sources:
        """Read the question, the chat and the accepted results."""
        texts = tuple(MARKS.sub(" ", text) for text in texts)
        amounts = set[Decimal]().union(*map(amounts_in, texts))
        return cls(Amounts(amounts), frozenset().union(*map(content_words, texts)))

    def tell(self, value: Decimal) -> bool:
        """Whether a number has a source, is next to one (the bounds of a search), rounds one, or is customary."""
        if is_customary(value) or value in self.amounts:
            return True
        if value == value.to_integral_value():
            return value - 1 in self.amounts or value + 1 in self.amounts
        return self.amounts.tell(value)

    def name(self, words: Iterable[str]) -> bool:
        """Whether all words of a name have a source."""
        return set().union(*map(content_words, words)) <= self.words | CUSTOMARY_NAMES


_CALENDAR = """January February March April May June July August September October November December Monday Tuesday
Wednesday Thursday Friday Saturday Sunday"""
CUSTOMARY_NAMES = frozenset(content_words(f"{_CALENDAR} yes true false none"))
"""Months, weekdays and a few values, in lower case: no names of anything that could be looked up."""
_SHORT_NAMES = frozenset(name[:length] for name in _CALENDAR.split() for length in (3, 4))
"""Mon, Tue, Jan and Sept. In a question they may be names (Sun), in a program hardly."""


def invented(code: str, sources: Sources) -> list[Literal]:
    """The literals of a program that come from nowhere, in order, each once."""
    literals = dict.fromkeys(literals_of(code))
    return [literal for literal in literals if not _has_source(literal, sources)]


def invented_in_values(arguments: Mapping[str, object], sources: Sources) -> list[Literal]:
    """The same for the arguments of a tool that takes no program."""
    literals = dict.fromkeys(literal for name, value in arguments.items() for literal in _values(name, value))
    return [literal for literal in literals if not _has_source(literal, sources)]


def _values(name: str, value: object) -> Iterator[Literal]:
    match value:
        case Mapping():
            for key, inner in value.items():
                yield from _values(str(key), inner)
        case list():
            for inner in value:
                yield from _values(name, inner)
        case int() | float() if not isinstance(value, bool):
            yield Literal(abs(Decimal(str(value))), name, "bound")  # limits of pages and lists are round
        case str() if not _ADDRESS.search(value):
            yield Literal(value, name, "data")


_ADDRESS = re.compile(r"[\\/_@<>{}=]|\w\.\w*[a-z]")
"""Paths, addresses and code are no names."""
_FORMAT = re.compile(r"%[-+ #0-9.*]*[a-zA-Z]|\{[^{}]*\}|0?123456789")
"""Parts of a text that are no figures: format directives and the row of digits."""
_SMALL_WORDS = "a an and at de del der di for in la le of on the to van von y"
_PARTICLES = frozenset(_SMALL_WORDS.split())


def _has_source(literal: Literal, sources: Sources) -> bool:
    value = literal.value
    if isinstance(value, Decimal):
        ends = literal.use == "bound" and (is_round(value) or is_customary(value - 1))  # range(1, 13) has twelve
        return ends or sources.tell(value)
    text = _FORMAT.sub(" ", value)
    return _figures_have_source(text, sources) and _names_have_source(text, literal, sources)


def _figures_have_source(text: str, sources: Sources) -> bool:
    """Whether all figures of a text have a source, those that are no number in their parts (4.9.1923)."""
    return all(
        sources.tell(number) for figures in re.findall(r"\d[\d,.]*\d|\d", text) for number in numbers_of(figures)
    )


def _names_have_source(text: str, literal: Literal, sources: Sources) -> bool:
    if literal.use == "label" or _ADDRESS.search(text):
        return True
    words = re.findall(r"[^\W\d]\w+", text)
    titled = [word for word in words if word[0].isupper() and word[1].islower()]
    if len(titled) + sum(word in _PARTICLES for word in words) < len(words):  # prose: its first word may be any
        return sources.name(names_of(text))
    return (literal.use == "choice" and len(words) < 2) or sources.name(
        word for word in titled if word not in _SHORT_NAMES
    )
