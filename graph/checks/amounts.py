"""The amounts that a text tells: its numbers, in figures and in words, and what they are in other units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

_FIGURES = re.compile(
    r"(?<![\d.,])\d{1,3}(?:[,\u00a0\u202f ]\d{3})+(?!\d)(?:\.\d+)?"  # 1,234.5 and 1 234.5
    r"|(?<![\w.])\d+(?:\.\d+)?[eE][+-]?\d{1,3}(?!\w)"
    r"|\d+(?:\.\d+)?|(?<!\w)\.\d+"
)
_POWER = re.compile(r"(\d+(?:\.\d+)?)\s*[x*×·]\s*10\s*(?:\^|\*\*)\s*[({]?\s*([+-−]?\d{1,3})")
_CENTURY = re.compile(r"\b(\d{1,2}|\w+)(?:st|nd|rd|th)?[ -]century", re.IGNORECASE)
_AFTERNOON = re.compile(r"\b(\d{1,2})(?::\d\d)?\s*(?:p\.?m\b|o'clock in the (?:afternoon|evening))", re.IGNORECASE)

_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
_TENS = "ten twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = """first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth
fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"""
_WORDS = {word: n for n, word in enumerate(_UNITS.split())}
_WORDS |= {word: 10 * n for n, word in enumerate(_TENS.split(), 1)}
_WORDS |= {word: n for n, word in enumerate(_ORDINALS.split(), 1)}
_SIZES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_GROUPS = {"dozen": 12.0, "dozens": 12.0, "score": 20.0, "fortnight": 14.0, "half": 0.5, "quarter": 0.25}
_WORD = re.compile(r"[a-z]+")

_POWERS = {
    "%": -2, "percent": -2, "per cent": -2, "cent": -2, "centi": -2, "cm": -2, "‰": -3, "milli": -3, "mm": -3, "ml": -3,
    "hundred": 2, "hecto": 2, "ha": 4, "thousand": 3, "kilo": 3, "km": 3, "kg": 3, "tonne": 3, " ton": 3, "million": 6,
    "mega": 6, "billion": 9, "giga": 9, "trillion": 12, "micro": -6, "nano": -9, "basis point": -4,
}  # fmt: skip
"""Powers of ten of words in a text: a program writes 3.5 percent as 0.035 and 2 million as 2000000."""


def numbers_in(text: str) -> Iterator[Decimal]:
    """The numbers written in figures, without their signs, and the runs of digits inside them: 4.9.1923 has a year."""
    for figures in _FIGURES.findall(text):
        yield Decimal(re.sub(r"[,\u00a0\u202f ]", "", figures))
    for digits in re.findall(r"\d+", text):
        yield Decimal(digits)
    for factor, power in _POWER.findall(text):
        yield Decimal(factor).scaleb(int(power.replace("−", "-")))


def amounts_in(text: str) -> set[Decimal]:
    """Every amount that a program may write for what a text says.

    These are its numbers, those that it writes in words, both scaled by the percent, millions and kilometres it
    mentions, growth factors (1.035 and 0.965 for 3.5 percent), the hours of the afternoon, and the years of a century.
    """
    lower = text.casefold()
    plain = {*numbers_in(text), *_in_words(lower)}
    scaled = {n.scaleb(power) for word, power in _POWERS.items() if word in lower for n in plain}
    growth = {abs(1 + sign * n) for n in scaled if n < 1 for sign in (1, -1)}
    years = {Decimal(year) for century in _CENTURY.findall(lower) for year in _years_of(century)}
    return plain | scaled | growth | afternoon_hours(text) | years


def afternoon_hours(text: str) -> set[Decimal]:
    """The hours of the afternoon that a text names, as a clock of 24 hours shows them."""
    return {Decimal(int(hour) + 12) for hour in _AFTERNOON.findall(text) if int(hour) < 12}


def _years_of(century: str) -> tuple[int, ...]:
    number = int(century) if century.isdecimal() else _WORDS.get(century, 0)
    return ((number - 1) * 100, (number - 1) * 100 + 1, number * 100, number * 100 + 1) if number else ()


def _in_words(lower: str) -> Iterator[Decimal]:
    """Numbers in words: each word, and what words in a row make (`one hundred and twenty`)."""
    total = current = Decimal(0)
    for word in _WORD.findall(lower):
        if word in _WORDS:
            number = _WORDS[word]
            follows = current % 100 == 0 or (number < 10 and current % 10 == 0 and current % 100 >= 20)
            if not follows:  # "twenty-one and forty-eight" are two numbers
                total = current = Decimal(0)
            current += number
            yield from (Decimal(number), current, total + current)
        elif word in _SIZES:
            current = (current or Decimal(1)) * _SIZES[word]
            if _SIZES[word] > 100:
                total, current = total + current, Decimal(0)
            yield total + current
        elif word in _GROUPS:
            value = Decimal(_GROUPS[word])
            yield from (value, (total + current) * value, total + current + value)
        elif word not in ("and", "a"):
            total = current = Decimal(0)
