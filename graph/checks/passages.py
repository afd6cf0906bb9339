"""Checks of passages before anybody reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from graph.checks.english import in_english
from graph.checks.evidence import Evidence
from graph.checks.excerpts import are_titled
from graph.checks.grounding import content_words
from graph.checks.questions import names_in
from graph.state import Failure

PassageCheck: TypeAlias = Callable[[Evidence], Failure | None]
"""Gives the reason why a search has found nothing, or None."""


def about_something_else(evidence: Evidence) -> Failure | None:
    """No result has a word of any name in the question: asked for Japan's capital, a small model reads off another's.

    Of 329 searches in recorded runs this held of five, and four of these runs had a wrong answer (docs/measured.md).
    """
    names = names_in(evidence.question)
    if not (names and evidence.new and evidence.tool and evidence.tool == evidence.searches_with):
        return None
    if not all(map(are_titled, evidence.new)):  # "It was built in 1890" without a title may be about anything
        return None
    if not in_english(evidence.question, *evidence.texts):
        return None
    found = set().union(*map(content_words, evidence.results))
    if not found.isdisjoint(set().union(*map(content_words, names))):
        return None
    return Failure(kind="empty", message=f"no passage found is about {' or '.join(names)}")
