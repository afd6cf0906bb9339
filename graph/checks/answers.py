"""Checks of an answer against its question and the passages it was read from.

A small verifier stops at the first name it sees: a country where a date is asked for, a word from the question
itself, a word that is in no passage. Each of these mistakes shows in the words alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from graph.checks.amounts import told_in
from graph.checks.english import in_english
from graph.checks.evidence import Evidence
from graph.checks.grounding import WEEKDAY, content_words
from graph.checks.questions import has_options
from graph.rendering import brief
from graph.state import Verdict

AnswerCheck: TypeAlias = Callable[[str, Evidence], str | None]
"""Says why an answer cannot be right, in a few words; None if it may be."""


_LONGEST = 500
"""Characters of a complaint: it may quote a long answer or a long list."""


def answer_complaint(verdict: Verdict, evidence: Evidence, checks: Sequence[AnswerCheck]) -> str | None:
    """Why the answer of a verdict that stops cannot be right; None if it may be, or the verdict continues."""
    answer = verdict["answer"]
    if not (checks and verdict["stop"] and answer) or not in_english(evidence.question, answer, *evidence.texts):
        return None
    complaint = next((found for check in checks if (found := check(answer, evidence)) is not None), None)
    return complaint and brief(complaint, _LONGEST)


_WANTS_NUMBER = re.compile(
    r"(?i)(?:^|[,;:]\s*)(?:(?:since|until) )?when (?:was|were|is|are|did|does|do|had|has|will)\b"
    r"|\bhow (?:many|much|old|tall|long|high|far|deep|large)\b|\b(?:which|what) (?:exact )?(?:year|date|day|month)\b"
)
_WANTS_YES = re.compile(r"(?i)(?:is|are|was|were|does|did|has|had|(?:do|have)(?! you))\b")
_YES = re.compile(r"(?i)(?:yes|no|true|false|both|neither|they|it|not)\b")
_CHOICE = re.compile(r"(?i)\b(?:or|between|which of|which one|first|older|younger|larger|longer|more|earlier|later)\b")
_TIME_OR_COUNT = re.compile(
    rf"(?i)\b(?:none|no|never|once|twice|noon|january|february|march|april|may|june|july|august|september|october"
    rf"|november|december)\b|{WEEKDAY}|\bcentur"
)
"""What says when or how many without a number."""


_FORMS = (
    (r"\bday of the week\b|\bweekday\b", WEEKDAY, "the name of a weekday"),
    (
        r"\b(?:which|what) month\b",
        r"\b(?:january|february|march|april|may|june|july|august|september|october|november|december)\b",
        "the name of a month",
    ),
    (r"\b(?:which|what) year\b", r"\d{3,4}|^\W*\d+\W*$", "a year"),
    (r"\byyyy-mm-dd\b", r"\b\d{4}-\d\d-\d\d\b", "a date as YYYY-MM-DD"),
    (r"\banswer (?:with |by )?yes or no\b", r"^\W*(?:yes|no)\b", "yes or no"),
)
"""Patterns of a question, each with the pattern of its answers and a name for them."""


def wrong_form(answer: str, evidence: Evidence) -> str | None:
    """The answer does not have the form the question asks for.

    A question about a date or an amount needs a number, a yes-or-no question needs one of the two, and only a choice
    between things named in the question may be answered in its own words. A letter may answer a question with options.
    """
    question = evidence.question.strip()
    if has_options(question):
        return None
    for asks, fits, form in _FORMS:
        if re.search(asks, question, re.IGNORECASE) and not re.search(fits, answer, re.IGNORECASE):
            return f"the question asks for {form}, and {answer!r} is none"
    if _WANTS_YES.match(question):
        if not _CHOICE.search(question) and not _YES.match(answer.strip()):
            return f"the question asks for yes or no, and {answer!r} is neither"
        return None
    if _WANTS_NUMBER.search(question) and not told_in(answer) and not _TIME_OR_COUNT.search(answer):
        return f"the question asks for a date or a number, and {answer!r} is none"
    words = _words(answer)
    if words and words <= content_words(question) and not _CHOICE.search(question):
        return f"{answer!r} only repeats the question"
    return None


_MINUS = "[-−–]"


def lost_sign(answer: str, evidence: Evidence) -> str | None:
    """The answer is a number that the results have with a minus only."""
    if evidence.passages or not (number := re.fullmatch(rf"\W*?({_MINUS}?)(\d[\d.,]*+)\W*", answer)) or number[1]:
        return None
    same = rf"(?<![\w.,])({_MINUS}?){re.escape(number[2].rstrip('.,'))}(?![\w.,]*\d)"
    found = re.findall(same, " ".join(evidence.results))
    return f"the result is -{number[2]}, and not {number[2]}" if found and all(found) else None


def not_in_sources(answer: str, evidence: Evidence) -> str | None:
    """The answer was not read from the passages.

    Most of the words it adds to the question and the chat must occur in them. Numbers are skipped:
    `unsupported_numbers` compares them by value.
    """
    if not evidence.passages or (_WANTS_YES.match(evidence.question.strip()) and _YES.match(answer.strip())):
        return None
    added = _words(answer).difference(*map(content_words, (evidence.question, *evidence.said)))
    strange = sorted(added.difference(*(content_words(result) for result in evidence.results)))
    return f"no result says {strange[0]!r}" if len(strange) * 2 >= len(added) > 0 else None


def _words(answer: str) -> set[str]:
    return {word for word in content_words(answer) if not re.search(r"\d", word)}
