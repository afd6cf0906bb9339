"""Questions that name what answers them: a choice (`A or B?`, `which of A and B`), or an order (`put A and B`)."""

from __future__ import annotations

import re
from decimal import Decimal

from graph.checks.amounts import told_in
from graph.checks.evidence import Evidence

_WHICH = re.compile(r"(?i)\s*(?:which|who|what)\b")
_OF = re.compile(r"(?i)\s+(?:one\s+)?of\s")
_AND = re.compile(r"(?i)\band\b")
_OR = re.compile(r"(?i)\bor\b")
_PUT = re.compile(r"(?i)\s*(?:put|arrange|sort|order|rank)\s")
_INTO = re.compile(r"(?i)\s(?:in|into|by|from)\b")
_ITEM = re.compile(r"(?i), (?:or|and) |, ?| (?:or|and) ")
_WORD = re.compile(r"\w+")
_SMALL = frozenset(("the", "a", "an", "of", "and", "or"))


def none_of_the_options(answer: str, evidence: Evidence) -> str | None:
    """The question offers a choice, and the answer shares no word and no number with it."""
    options = _options(evidence.question)
    if not options or _said(options) & _said(answer):
        return None
    return f"the question asks for one of {' '.join(options.split())}, and {answer!r} is none of them"


def left_out(answer: str, evidence: Evidence) -> str | None:
    """The question asks for an order of things, and the answer leaves some out."""
    there = _said(answer)
    missing = [item for item in _items(evidence.question) if (said := _said(item)) and not said & there]
    return f"the answer leaves out {', '.join(missing)}" if missing else None


def _options(question: str) -> str:
    """The part of a question that offers a choice; empty if it offers none."""
    asked, mark, _ = question.partition("?")
    which = _WHICH.match(asked)
    if not (mark and which):
        return ""
    _, _, last = asked[which.end() :].partition(",")
    if _OR.search(last):
        return last
    of = _OF.match(asked, which.end())
    return asked[of.end() :] if of and _AND.search(asked, of.end()) else ""


def _items(question: str) -> list[str]:
    """What a question wants in an order."""
    put = _PUT.match(question)
    joined = _AND.search(question, put.end()) if put else None
    into = _INTO.search(question, joined.end()) if joined else None
    return _ITEM.split(" ".join(question[put.end() : into.start()].split())) if put and into else []


def _said(text: str) -> set[str | Decimal]:
    """The words of a text without small ones, and its numbers however they are written; A may name something."""
    words = (word for word in _WORD.findall(text) if word == "A" or word.casefold() not in _SMALL)
    return {*map(str.casefold, words), *told_in(text)}
