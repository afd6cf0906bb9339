"""Comparing what models write with the texts it must come from: numbers, names and words.

Small models do sums in their heads, name figures that they believe, put example values in place of facts, and overlook
what stands in front of them. All of this is told by letters and spaces of the Latin script; `in_latin_script` says
where it cannot be.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from decimal import Decimal

_LETTER = re.compile(r"[^\W\d_]")
_LATIN_LETTER = re.compile("[A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿⱠ-ⱿꜢ-ꟿꬰ-ꭤＡ-Ｚａ-ｚ]")
_FEW = 0.2
"""Share of other letters that a text in Latin script may hold: a formula, a name in its own script."""


def in_latin_script(*texts: str) -> bool:
    """Whether each of the texts is written in Latin script; one without letters is."""
    for text in texts:
        letters = len(_LETTER.findall(text))
        if letters - len(_LATIN_LETTER.findall(text)) > _FEW * letters:
            return False
    return True


_NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?|(?<=[a-zA-Z-])\d+(?:\.\d+)?")

_DIGITS = re.compile(r"\d+")


def unsupported_numbers(claim: str, sources: Iterable[str]) -> list[str]:
    """The numbers of `claim` that no source holds, as they are written.

    Numbers are compared by value without their sign, so that 1,260 is 1260 and 09 is 9; a claim may round what a source
    tells, to no fewer than its own decimal places. In a source every run of digits counts too: a date such as 4.9.1923
    holds a year.
    """
    known = {_value(number) for source in sources for number in _NUMBER.findall(source) + _DIGITS.findall(source)}
    return [number for number in _NUMBER.findall(claim) if not _is_known(_value(number), known)]


def _value(number: str) -> Decimal:
    return Decimal(number.replace(",", ""))


def _is_known(value: Decimal, known: set[Decimal]) -> bool:
    if value in known:
        return True
    return any(other.is_finite() and abs(other - value) * 2 <= Decimal(1).scaleb(_exponent(value)) for other in known)


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


_NAME = re.compile(r"(?<![.!?:] )(?<!^)\b[A-Z][a-z]\w+")


def unsupported_names(claim: str, sources: Iterable[str]) -> list[str]:
    """The names of `claim` (capitalised words that open no sentence) that no source holds."""
    known = set().union(*(telling_words(source) for source in sources))
    return [name for name in _NAME.findall(claim) if not telling_words(name) <= known]


_TELLS_WHICH = re.compile(r"\d|[\"“«]|\b[A-Z]{3,}\b")


def names_something(text: str) -> bool:
    """Whether a text holds a name, a figure or a quotation, without which a search finds anything."""
    return bool(_NAME.search(text) or _TELLS_WHICH.search(text))


_CUSTOMARY = {Decimal(n) for n in (*range(13), 24, 52, 60, 360, 365, 366, 1000, 3600)}
"""Values that programs set without having been told: beginnings, number words, and units of time and measure."""

_SCALES = {
    "%": -2, "percent": -2, "per cent": -2, "cent": -2, "hundred": 2, "thousand": 3, "kilo": 3, "km": 3, "kg": 3,
    "million": 6, "billion": 9,
}  # fmt: skip
"""Words that give a number another value in a program: 3.5 percent is 0.035 there, and 2 million is 2000000."""


def invented_assignment(code: str, sources: Iterable[str]) -> str | None:
    """The first variable that a program sets to a number which no source holds, as `name = number`.

    A model that lacks a fact writes a program about an example value in its place.
    """
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # the interpreter explains it better
    known = " ".join(sources)
    scaled = _scaled(known)
    for statement in body:
        value = getattr(statement, "value", None)
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or not isinstance(value, ast.Constant):
            continue
        if isinstance(value.value, bool) or not isinstance(value.value, int | float):
            continue
        written = ast.get_source_segment(code, value) or ""
        plain = written.replace("_", "")
        if (
            not _NUMBER.fullmatch(plain)
            or _value(plain) in _CUSTOMARY | scaled
            or not unsupported_numbers(plain, [known])
        ):
            continue
        return ast.get_source_segment(code, statement)
    return None


def _scaled(text: str) -> set[Decimal]:
    """The numbers of a text in the scales that its words name, and the factors of its percentages (1.035, 0.965)."""
    words = text.casefold()
    numbers = [_value(number) for number in _NUMBER.findall(text)]
    found = {number.scaleb(power) for word, power in _SCALES.items() if word in words for number in numbers}
    return found | {1 + value for value in found if value < 1} | {1 - value for value in found if value < 1}


_WORD = re.compile(r"\w{3,}")
_COMMON = frozenset(
    [
        "about",
        "all",
        "amount",
        "and",
        "answer",
        "any",
        "are",
        "compute",
        "did",
        "does",
        "each",
        "find",
        "for",
        "from",
        "had",
        "has",
        "have",
        "how",
        "its",
        "many",
        "much",
        "name",
        "not",
        "number",
        "one",
        "out",
        "per",
        "text",
        "that",
        "the",
        "their",
        "they",
        "this",
        "total",
        "was",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
    ]
)


def shared_words(question: str, text: str) -> float:
    """The share of a question's telling words that occur in a text, 0 to 1; 0 if it has none."""
    asked = telling_words(question)
    return len(asked & telling_words(text)) / len(asked) if asked else 0.0


def telling_words(text: str) -> set[str]:
    """The words of a text that tell it from others: three letters or more, without a plural's s, none a common word."""
    return {word.rstrip("s") for word in _WORD.findall(text.casefold())} - _COMMON
