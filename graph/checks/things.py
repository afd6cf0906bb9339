"""Programs that take what the results tell of one thing for another: the founding of Pellow for that of Mirl."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from graph.checks.amounts import told_in
from graph.checks.arguments import Proposal
from graph.checks.counts import NAME, counts_in, named_numbers
from graph.checks.english import in_english
from graph.checks.excerpts import sentences_of
from graph.checks.grounding import content_words
from graph.checks.provenance import MARKS
from graph.memory import accepted_results, chat_texts
from graph.rendering import brief
from tools.card import fence_of

_PASSAGE = re.compile(r"(?m)^(?=\[\d+\] )")
_CLAUSE = re.compile(r";\s|,\s(?:\w+ )?of (?:which|whom)\s")
"""Where a sentence goes on to something else: `of which 65 percent were exported`."""
_CLEARLY = 2
"""Words by which another clause has to be nearer to a variable's name than those that tell its value."""


@dataclass(frozen=True)
class _Told:
    """A text, and the amounts that it tells."""

    text: str
    words: frozenset[str]
    values: frozenset[Decimal]

    @classmethod
    def of(cls, texts: Iterable[str]) -> list[_Told]:
        told = ((text, MARKS.sub(" ", text)) for text in texts)
        return [cls(text, frozenset(content_words(read)), frozenset(told_in(read))) for text, read in told]


def value_of_another_thing(proposal: Proposal) -> str | None:
    """A variable is named for one thing, and given a value that the results tell of another.

    It shows in the names of persons and places, which no passage with the value has, and in the other words, of which
    two more stand in another clause; what the results count (tonnes) is no such word. Values that the question tells,
    0 and 1 are free.
    """
    state = proposal.state
    question, results = state["question"], accepted_results(state)
    codes = [str(value) for call in proposal.arguments for value in call.values()]
    if fence_of(proposal.tool) != "python" or not in_english(question, *results, *codes):
        return None
    free = set().union((Decimal(0), Decimal(1)), *map(told_in, (question, *chat_texts(state))))
    names = content_words(" ".join(NAME.findall(" ".join((question, *results)))))
    counted = set().union(*(count.words for result in results for count in counts_in(result)))
    passages = _Told.of(passage for result in results for passage in _PASSAGE.split(result))
    clauses = _clauses(passages)
    for name, value in (pair for code in codes for pair in named_numbers(code)):
        if value in free:
            continue
        words = content_words(name.replace("_", " "))
        told = _of_its_name(words, words & names, value, passages)
        told = told or _in_nearer_clause(words - names - counted, value, clauses)
        if told:
            given = f"{brief(name)} = {brief(f'{value:f}')}"
            return f"`{given}`, but the results say of that: {brief(told)}. Compute with what they say"
    return None


def _clauses(passages: Iterable[_Told]) -> list[_Told]:
    """The parts of the passages' sentences that tell a number."""
    sentences = (sentence for passage in passages for sentence in sentences_of(passage.text))
    return [clause for clause in _Told.of(part for one in sentences for part in _CLAUSE.split(one)) if clause.values]


def _of_its_name(words: set[str], names: set[str], value: Decimal, passages: Sequence[_Told]) -> str:
    """What is told of the names of a variable, if there are passages about them and others alone tell its value."""
    about = [passage for passage in passages if names & passage.words]
    if any(value in passage.values for passage in about) or not any(value in passage.values for passage in passages):
        return ""
    return _nearest(words - names, _clauses(about))


def _in_nearer_clause(words: set[str], value: Decimal, clauses: Sequence[_Told]) -> str:
    """The clause that has clearly more of a variable's words than those that tell its value."""
    telling = [len(words & clause.words) for clause in clauses if value in clause.values]
    nearest = max((len(words & clause.words) for clause in clauses), default=0)
    return _nearest(words, clauses) if telling and nearest - max(telling) >= _CLEARLY else ""


def _nearest(words: set[str], clauses: Sequence[_Told]) -> str:
    """The clause with the most of some words; empty if there is none."""
    nearest = max(clauses, key=lambda clause: len(words & clause.words), default=None)
    return nearest.text.rstrip(".") if nearest is not None else ""
