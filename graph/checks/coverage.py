"""Whether all of a question was used: its numbers in what was computed, its words in what was found.

A small verifier accepts half of an answer: of a product less a number the product, of the birthplace of a founder the
founder. What was left out stands in the question and nowhere else.
"""

from __future__ import annotations

import re
from decimal import Decimal

from graph.checks.amounts import afternoon_hours, amounts_in, told_in
from graph.checks.evidence import Evidence
from graph.checks.grounding import content_words
from graph.checks.questions import asking_part, has_options

_FIGURES = re.compile(r"(?<![\w.,])\d+(?:[.,'’_]\d+)*")


def unused_number(answer: str, evidence: Evidence) -> str | None:
    """A number of the question is in no call and in no result, in whatever form (3.5 percent as 1.035)."""
    question = evidence.question
    if has_options(question):
        return None
    inputs = [text.replace("_", "") for text in evidence.inputs]
    used = set().union(*map(amounts_in, (*inputs, *evidence.results)), told_in(answer))
    later = afternoon_hours(question)
    for figures in _FIGURES.findall(question):
        numbers = [number for number in told_in(figures) if number > 1]
        if numbers and used.isdisjoint(form for number in numbers for form in _forms(number) | ({number + 12} & later)):
            return f"the question's {figures} was not used, neither in a call nor in a result"
    return None


def _forms(number: Decimal) -> set[Decimal]:
    scaled = {number.scaleb(power) for power in range(-3, 10)}
    return scaled | {number + 1, abs(number - 1)} | {abs(1 + sign * number / 100) for sign in (1, -1)}


_SAID_OTHERWISE = frozenset(
    word
    for text in (
        # what kind of thing is asked for
        "year years month week day date time age city town village place country person people man woman thing there",
        "long high old many much tall far deep large answer first last profession job nationality kind sort type",
        # kin and birth, told in other words (a sister's brother, "was married to", "was born in")
        "husband wife spouse brother sister sibling son daughter child children father mother parent uncle aunt nephew",
        "niece cousin grandfather grandmother law marry birthplace",
        # verbs that change in the middle
        "begin begun bring brought buy bought catch caught choose chosen come came draw drawn drive driven fall fallen",
        "fight fought find found give given grow grown hold held keep kept lead led leave left lie lay lose lost make",
        "made meet met rise risen run ran say said see seen sell sold shoot shot sing sung speak spoken spend spent",
        "stand stood steal stolen take taken teach taught tell told think thought wear worn win won write written",
        # and what only joins
        "after before being besides during since until",
    )
    for word in content_words(text)
)
"""Words of a question that a result need not hold."""

ASKS_FOR_PROSE = re.compile(
    r"(?i)\b(?:why|expla(?:in|nation)|descri(?:be|ption)|discuss(?:ion)?|summar(?:y|i[sz]e)|justif(?:y|ication)"
    r"|reasons?|(?:in (?:\w+ ){1,3})?sentences?|paragraphs?|essays?|in (?:\w+ )?detail)\b"
)
"""What asks for more than a few words. It tells the form of an answer, so that a result need not hold it either."""

_STEM = 4
"""Letters by which words are compared: build and built, die and died."""


_UNSAID = 0.2
"""Share of a question's words that makes a part of it. The first passage found lacks as many for 68 % of the two-hop
questions of `evals/own`, the first of two supporting ones for 92 % of those about Wikipedia; both passages for 32 and
45 %, those of a single fact for none."""


def unanswered_part(answer: str, evidence: Evidence) -> str | None:
    """A fifth of the question's words is in no result of the first search: it was about another part of it."""
    if not evidence.passages or evidence.old or has_options(evidence.question):
        return None
    found = set().union(*map(content_words, (*evidence.results, answer)))
    said = {word[:length] for word in found for length in range(3, _STEM + 1)}
    question = asking_part(evidence.question)
    before, _, after = question.rpartition("?")  # behind the question stands how to answer it
    question = ASKS_FOR_PROSE.sub(" ", before or after)
    asked = content_words(question) - _SAID_OTHERWISE
    unsaid = [word for word in asked if word[:_STEM] not in said]
    if len(unsaid) < max(1, _UNSAID * len(asked)):
        return None
    place = question.casefold().find
    return f"no result speaks of {', '.join(map(repr, sorted(unsaid, key=place)))}"
