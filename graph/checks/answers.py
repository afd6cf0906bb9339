"""Checks of an answer against its question and against the passages it is read from, without a model.

A small verifier stops at the first name that it meets: a country where a date is asked for, a word of the question
itself, a word that no passage holds. Each of these can be seen from the words alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from graph.checks.evidence import Evidence
from graph.checks.grounding import in_latin_script, telling_words
from graph.state import Verdict

AnswerCheck: TypeAlias = Callable[[str, Evidence], str | None]
"""Why an answer cannot be the one to its question, in a few words, or None."""


def answer_complaint(verdict: Verdict, evidence: Evidence, checks: Sequence[AnswerCheck]) -> str | None:
    """Why a verdict that stops cannot have the answer; None if it may have it, or goes on."""
    answer = verdict["answer"]
    if not verdict["stop"] or not answer or not in_latin_script(answer, *evidence.texts):
        return None
    return next((complaint for check in checks if (complaint := check(answer, evidence)) is not None), None)


_WANTS_NUMBER = re.compile(
    r"(?i)(?:^|[,;:]\s*)(?:(?:since|until) )?when (?:was|were|is|are|did|does|do|had|has|will)\b"
    r"|\bhow (?:many|much|old|tall|long|high|far|deep|large)\b|\b(?:which|what) (?:exact )?(?:year|date|day|month)\b"
)
_WANTS_YES = re.compile(r"(?i)(?:is|are|was|were|does|did|has|had|(?:do|have)(?! you))\b")
_YES = re.compile(r"(?i)(?:yes|no|true|false|both|neither|they|it|not)\b")
_CHOICE = re.compile(r"(?i)\b(?:or|between|which of|which one|first|older|younger|larger|longer|more|earlier|later)\b")
_OPTIONS = re.compile(r"(?m)^\s*\(?[A-H][).:]\s")
_NUMBER_WORD = re.compile(
    r"(?i)\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|twent|thirt|hundred|thousand"
    r"|million|none|no|never|once|twice|january|february|march|april|may|june|july|august|september|october|november"
    r"|december|(?:mon|tues|wednes|thurs|fri|satur|sun)day|century)"
)


def wrong_form(answer: str, evidence: Evidence) -> str | None:
    """The form of the answer is not what the question asks for.

    A question for a date or an amount wants a number, one for yes or no wants that, and only a choice between things
    that the question names is answered by its own words. A question that lists options may be answered by a letter.
    """
    question = evidence.question.strip()
    if _OPTIONS.search(question):
        return None
    if _WANTS_YES.match(question):
        if not _CHOICE.search(question) and not _YES.match(answer.strip()):
            return f"the question asks for yes or no, and {answer!r} is neither"
        return None
    if _WANTS_NUMBER.search(question) and not _NUMBER_WORD.search(answer):
        return f"the question asks for a date or a number, and {answer!r} is none"
    words = _words(answer)
    if words and words <= telling_words(question) and not _CHOICE.search(question):
        return f"{answer!r} only repeats the question"
    return None


def not_in_sources(answer: str, evidence: Evidence) -> str | None:
    """The answer was not read from the passages that were found.

    Of the words that it adds to the question, most must stand in them. Numbers are not looked at (`unsupported_numbers`
    compares them by value).
    """
    if not evidence.passages or (_WANTS_YES.match(evidence.question.strip()) and _YES.match(answer.strip())):
        return None
    added = _words(answer) - telling_words(evidence.question)
    strange = sorted(added.difference(*(telling_words(result) for result in evidence.results)))
    return f"no result says {strange[0]!r}" if len(strange) * 2 >= len(added) > 0 else None


def _words(answer: str) -> set[str]:
    return {word for word in telling_words(answer) if not re.search(r"\d", word)}
