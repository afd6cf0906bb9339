"""What texts count, and programs that take one count for another: of 48 verses of 4 lines each, 48 lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from graph.checks.amounts import told_in
from graph.checks.arguments import Proposal
from graph.checks.english import in_english
from graph.checks.grounding import content_words
from graph.memory import accepted_results, chat_texts
from graph.parsing.blocks import syntax_of
from graph.rendering import brief
from tools.card import fence_of

_SMALL = "and|or|for|in|at|on|to|from|by|with|which|who|is|are|was|were|a|an|per|of|each|every|the"
_NOUN = r"[^\W\d][\w'’-]*"
_COUNT = re.compile(
    rf"(?<![\w.,])(?P<figures>\d[\d,.]*\d|\d)(?=\s)(?P<things>(?:\s+(?!(?:{_SMALL})\b){_NOUN}){{1,2}})"
    rf"(?P<rate>\s+(?:a|an|per|of|each|every)\s+{_NOUN})?"
)
"""A number and what it counts: `48 verses`, `6 days a week`."""


@dataclass(frozen=True)
class Count:
    """A number of things that a text tells."""

    text: str
    values: frozenset[Decimal]
    words: frozenset[str]
    """The words of what is counted, and of what it is counted for: day and week of `6 days a week`."""


def counts_in(text: str) -> Iterator[Count]:
    """The counts of a text, in order."""
    for match in _COUNT.finditer(text):
        words = content_words(f"{match['things']} {match['rate'] or ''}")
        yield Count(" ".join(match[0].split()), frozenset(told_in(match["figures"])), frozenset(words))


def other_count(proposal: Proposal) -> str | None:
    """A program names a count that a result tells, and gives it another value.

    Values that the question tells, 0 and 1 are free, and so are names in the singular: a `summit` is no number of
    summits.
    """
    state = proposal.state
    question, results = state["question"], accepted_results(state)
    codes = [str(value) for call in proposal.arguments for value in call.values()]
    if fence_of(proposal.tool) != "python" or not in_english(question, *results, *codes):
        return None
    counts = [count for result in results for count in counts_in(result)]
    told = set().union((Decimal(0), Decimal(1)), *map(told_in, (question, *chat_texts(state))))
    named = content_words(" ".join(NAME.findall(" ".join((question, *results)))))
    for name, value in (pair for code in codes for pair in named_numbers(code)):
        things = _things(name) - named
        rivals = [count for count in counts if things and things <= count.words]
        if rivals and value not in told and not any(value in count.values for count in rivals):
            given = f"{brief(name)} = {brief(f'{value:f}')}"
            return f"`{given}`, but the results tell {_listed(rivals)}: take each amount for what it counts"
    return None


NAME = re.compile(r"\b[^\W\d_a-z]\w+")
"""A word of a name, or at the beginning of a sentence: in `seats_opera` the seats are counted."""
_MOST_TOLD = 3


def _listed(counts: Iterable[Count]) -> str:
    return " and ".join(list(dict.fromkeys(count.text for count in counts))[:_MOST_TOLD])


_COUNTED_FOR = frozenset(content_words("number total count amount per each"))


def _things(name: str) -> frozenset[str]:
    """The words of what a variable counts; none if no word of it is a plural."""
    text = name.replace("_", " ")
    if not any(word.endswith("s") and not word.endswith("ss") for word in text.split()):
        return frozenset()
    return frozenset(content_words(text) - _COUNTED_FOR)


def named_numbers(code: str) -> Iterator[tuple[str, Decimal]]:
    """The variables of a program that are given a plain number, each with its value."""
    try:
        tree = syntax_of(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=int() | float() as value)):
                if not isinstance(value, bool):
                    yield name, Decimal(value) if isinstance(value, int) else Decimal(repr(value))
