"""Other forms of the same short answer, which the lenient rules accept beside equality.

Each is a rule that can be checked in the two texts: an amount with or without its unit, a name with or without a title,
a hyphen, a gloss in brackets. None of them looks for the reference somewhere inside the answer.
"""

from __future__ import annotations

import re

from evals.scorers.denials import has_denial
from evals.scorers.normal import fold, same_tokens, tokens
from evals.scorers.persons import same_person
from evals.scorers.quantities import Amount, amount_of
from evals.scorers.units import CURRENCIES, Unit

MAX_SHORT = 300
"""Characters of a short answer."""

_PERCENTAGES = re.compile(r"%|percent", re.IGNORECASE)
_GLOSSED = re.compile(r"(?P<head>[^()\[\]]+?)\s*[(\[](?P<gloss>[^()\[\]]+)[)\]][.!]?")
_DESCRIPTION = re.compile(
    r"(?:the|a|an|his|her|its|their|our|this|that)\s+(?:\w+[’']s\s+)?[a-z]"  # the capital of France
    r"|(?:\w+\s+)?\w+[’']s\s+[a-z]"  # France's capital
    r"|[a-z]+(?:\s[a-z]+)?\s(?:of|who|which|that|for)\s",  # capital of France
    re.ASCII,
)
_NAMES_A_THING = re.compile(
    r"\b(?:city|town|village|state|province|county|kingdom|republic|island|planet|month|year|country|company|band|film|"
    r"movie|book|novel|song|album|river|lake|mountain|team|club|party|school|university|language|element|name)\b"
    r"(?:\s+(?:of|called|named))?\s+[A-Z0-9]",
)
_CHOICE = re.compile(r"\b(?:or|and|either|maybe|perhaps|possibly|formerly)\b", re.IGNORECASE)
_DIGIT_JOINT = re.compile(r"(?<=[^\W\d_])[-\s](?=\d)|(?<=\d)[-\s](?=[^\W\d_])")
_WORD_JOINT = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")
_RANGE = re.compile(r"(?:from )?(?P<low>\d[\d,.]*)\s*(?:-|to|until|through)\s*(?P<high>\d[\d,.]*)")
_ACRONYM = re.compile(r"[A-Z]{2,8}")
_SMALL_WORDS = frozenset(("of", "the", "and", "for", "in", "on", "de", "to", "a"))


def same_in_another_form(gold: str, answer: str, question: str) -> bool:
    """Whether an answer says the reference in another form."""
    if max(len(gold), len(answer)) > MAX_SHORT or "?" in answer:
        return False
    return (
        same_amount(gold, answer, question)
        or same_person(gold, answer)
        or _same_range(gold, answer)
        or _same_but_hyphens(gold, answer)
        or _same_but_gloss(gold, answer)
    )


def same_amount(gold: str, answer: str, question: str) -> bool:
    """Whether two texts are one amount: a unit, a currency or an "about" may be left out by one of them, not changed.

    A reference with a unit wants one in the answer: a bare number could be of another.
    """
    nouns = tuple(re.findall(r"[^\W\d_]{3,}", question)[:200])
    left, right = amount_of(gold, nouns), amount_of(answer, nouns)
    if left.number is None or right.number is None or _is_year_of_other_era(answer):
        return False
    if left.percent or right.percent:
        return _same_percentage(left, right, question)
    if left.unit is None or right.unit is None:
        unit_is_free = left.unit is None or _is_currency(left.unit)
        return unit_is_free and left.number == right.number
    return left.unit.powers == right.unit.powers and left.number * left.unit.factor == right.number * right.unit.factor


def _same_percentage(gold: Amount, answer: Amount, question: str) -> bool:
    if gold.percent and answer.percent:
        return gold.number == answer.number
    return answer.percent and gold.number == answer.number and _PERCENTAGES.search(question) is not None


def _is_currency(unit: Unit) -> bool:
    return len(unit.powers) == 1 and unit.powers[0][0] in _CURRENCIES and unit.factor == _CURRENCIES[unit.powers[0][0]]


_CURRENCIES = {unit.powers[0][0]: unit.factor for unit in CURRENCIES.values()}


def _is_year_of_other_era(text: str) -> bool:
    return re.search(r"\b(?:b\.?c\.?e?|a\.?d|c\.?e)\b", text, re.IGNORECASE) is not None


def _same_range(gold: str, answer: str) -> bool:
    """Whether two texts are one range of numbers, with a dash or with "to" (`1914–1918`, `from 1914 to 1918`)."""
    left, right = (_RANGE.fullmatch(fold(text).rstrip(".")) for text in (gold, answer))
    return left is not None and right is not None and left.group("low", "high") == right.group("low", "high")


def _same_but_hyphens(gold: str, answer: str) -> bool:
    """Whether two names differ in hyphens inside a word only: `F-16`, `F16` and `F 16`; `Wi-Fi` and `WiFi`.

    A hyphen between numbers, or after a single small letter, could be a sign; it stays.
    """
    if re.search(r"(?<![^\W_])[a-z]-?\d", gold + " " + answer) or re.search(r"[=+*/^]", gold + answer):
        return False
    left, right = (_WORD_JOINT.sub("", _DIGIT_JOINT.sub("", fold(text))).replace("-", " ") for text in (gold, answer))
    return any(map(str.isalpha, left)) and left.rstrip(".") == right.rstrip(".")


def _same_but_gloss(gold: str, answer: str) -> bool:
    """Whether the answer is the reference with a description beside it, one of the two in brackets.

    `the capital of France (Paris)` and `Paris (the capital of France)` are Paris. `Paris (France)` is not France,
    `Paris (Texas)` may be another Paris and `London (Paris)` is a contradiction: what stands beside the answer must be
    a description, or its abbreviation.
    """
    match = _GLOSSED.fullmatch(answer.strip())
    if match is None:
        return False
    head, gloss = match["head"].strip(), match["gloss"].strip()
    for named, other in ((head, gloss), (gloss, head)):
        if same_tokens(tokens(gold), tokens(named)):
            if same_tokens(tokens(named), tokens(other)):
                return True  # twelve (12)
            return _abbreviates(named, other) or _abbreviates(other, named) or _describes(other, is_head=other is head)
    return False


def _describes(text: str, *, is_head: bool) -> bool:
    """Whether a text tells of a thing without naming another one."""
    if _DESCRIPTION.match(text[:1].lower() + text[1:]) is None or has_denial(text):
        return False
    names_another = _NAMES_A_THING.search(text) or _CHOICE.search(text) or text[-1:].isdigit()
    return not names_another and (not is_head or len(text.split()) > 2 or re.search(r"[’']s\s", text) is not None)


def _abbreviates(short: str, long: str) -> bool:
    """Whether one text is the initials of the other."""
    letters = short.replace(".", "")
    words = re.findall(r"[^\W\d_]+", long)
    initials = {
        "".join(word[0] for word in words if keep or word.lower() not in _SMALL_WORDS).upper() for keep in (True, False)
    }
    return _ACRONYM.fullmatch(letters) is not None and len(words) > 1 and letters in initials
