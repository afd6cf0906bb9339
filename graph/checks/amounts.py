"""The amounts that a text tells: its numbers, in figures and in words, and what they are in other units."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from unicodedata import normalize

_WRITTEN = re.compile(
    r"""(?<!\d)(?P<hours>\d{1,3})[ ]?(?:hours?|hrs?|h)\b(?:,|\s|and\b)*(?P<minutes>\d{1,2})[ ]?(?:minutes?|mins?|m)\b
      | (?<![\d.])(?:(?P<whole>\d{1,4})[ ])?(?P<above>\d{1,6})[ ]?[/⁄][ ]?(?P<below>\d{1,6})(?![\d.])
      | (?<![\d.])(?P<base>\d{1,6})(?:\^|\*\*)(?P<exponent>\d{1,2})(?!\d)
      | (?P<figures>
          (?<![\d.,])\d{1,3}(?:[.,'’_\u00a0\u202f\ ]\d{3})+(?!\d)(?:[.,]\d+)?  # 1,234.5 and 1'234,5
        | (?<![\w.])\d+(?:\.\d+)?[eE][+-]?\d{1,3}(?!\w)
        | \d+(?:[.,]\d+)?|(?<!\w)\.\d+)
        (?: \s*[x*×·]\s*10\s*(?:\^|\*\*)\s*[({]?\s*(?P<ten>[+−-]?\d{1,3})
          | [\ -]?(?P<size>%|(?:k|K|M|mn|bn|B|(?i:percent|per\ cent|hundred|thousand|million|billion|trillion))\b))?
    """,
    re.VERBOSE,
)
"""A number in figures with all that makes its value: 2 h 15 min, 7 1/2, 2^10, 6.02 x 10^23, 12.5 %, 3.2bn."""
_FRACTION = re.compile("[¼-¾⅐-⅞]")
_GROUPED = re.compile(r"(?<=\d)['’_,\s-](?=\d)")
"""What may stand between the digits of one number, be it of a card or a book."""
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
_SUFFIXES = {"k": 3, "K": 3, "M": 6, "mn": 6, "bn": 9, "B": 9}
_GROUPS = {"dozen": 12.0, "dozens": 12.0, "score": 20.0, "fortnight": 14.0, "half": 0.5, "quarter": 0.25}
_WORD = re.compile(r"[a-z]+")

_POWERS = {
    "%": -2, "percent": -2, "per cent": -2, "cent": -2, "centi": -2, "cm": -2, "‰": -3, "milli": -3, "mm": -3, "ml": -3,
    "hundred": 2, "hecto": 2, "ha": 4, "thousand": 3, "kilo": 3, "km": 3, "kg": 3, "tonne": 3, " ton": 3, "million": 6,
    "mega": 6, "billion": 9, "giga": 9, "trillion": 12, "micro": -6, "nano": -9, "basis point": -4,
}  # fmt: skip
"""Powers of ten of words in a text: a program writes 3.5 percent as 0.035 and 2 million as 2000000."""


@dataclass(frozen=True)
class Written:
    """An amount as a text writes it."""

    text: str
    values: frozenset[Decimal]
    """What it may mean, without its sign; `4:30 pm` has a 4 that may mean 16."""
    parts: frozenset[Decimal]
    """The numbers that it is written with: 3 and 4 in `3/4`."""


def written_in(text: str) -> Iterator[Written]:
    """The amounts that a text has in figures, in order."""
    afternoon = afternoon_hours(text)
    text = _FRACTION.sub(lambda sign: f" {normalize('NFKC', sign[0])}", text)
    for match in _WRITTEN.finditer(text):
        parts = frozenset(map(_number, _PART.findall(match[0])))
        values = set(_values(match))
        yield Written(match[0], frozenset(values | ({value + 12 for value in values} & afternoon)), parts)


_PART = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?|(?<!\w)\.\d+")


def _number(figures: str) -> Decimal:
    return Decimal(_SEPARATOR.sub("", figures))


_SEPARATOR = re.compile(r"[,'’_\s]")
_LAST_MARK = re.compile(r"[.,](?=\d*$)")


def _readings(figures: str) -> Iterator[Decimal]:
    """What figures mean where the last point or comma in them is a decimal one, and where it parts thousands."""
    whole, *places = _LAST_MARK.split(figures)
    if "e" in figures.casefold() or not places:
        yield _number(figures)
        return
    digits = re.sub(r"\D", "", whole)
    yield Decimal(f"{digits}.{places[0]}")
    if len(places[0]) == 3 and not digits.startswith("0"):
        yield Decimal(digits + places[0])


def _values(match: re.Match[str]) -> Iterator[Decimal]:
    if match["minutes"]:
        minutes = 60 * Decimal(match["hours"]) + Decimal(match["minutes"])
        yield from (minutes, minutes / 60)
    elif match["below"]:
        if int(match["below"]):
            yield Decimal(match["whole"] or 0) + Decimal(match["above"]) / Decimal(match["below"])
    elif match["exponent"]:
        yield Decimal(int(match["base"]) ** int(match["exponent"]))
    else:
        size = match["size"]
        for number in _readings(match["figures"]):
            yield number.scaleb(int(match["ten"].replace("−", "-"))) if match["ten"] else number
            if size:
                yield number.scaleb(_SUFFIXES[size] if size in _SUFFIXES else _POWERS[size.casefold()])


def told_in(text: str) -> set[Decimal]:
    """The amounts that a text tells: in figures, in words, and the whole numbers in it (4.9.1923 has a year).

    Figures with a point or a comma are told in both readings: 12.500 is a dozen or thousands.
    """
    written = {value for amount in written_in(text) for value in amount.values | amount.parts}
    whole = map(_number, re.findall(r"\d+", text) + re.findall(r"\d+", _GROUPED.sub("", text)))
    return {*written, *whole, *_in_words(text.casefold())} | afternoon_hours(text)


_ONE_NUMBER = re.compile(r"(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?")


def numbers_of(figures: str) -> list[Decimal]:
    """The number that figures with commas and dots are, or the numbers between these: 4, 9 and 1923 of 4.9.1923."""
    return [_number(part) for part in ([figures] if _ONE_NUMBER.fullmatch(figures) else re.findall(r"\d+", figures))]


def amounts_in(text: str) -> set[Decimal]:
    """Every amount that a program may write for what a text says.

    These are the amounts that it tells, scaled by the percent, millions and kilometres it mentions, growth factors
    (1.035 and 0.965 for 3.5 percent), halves and doubles (a diameter's radius), and the years of a century.
    """
    lower = text.casefold()
    plain = told_in(text)
    scaled = {n.scaleb(power) for word, power in _POWERS.items() if word in lower for n in plain}
    growth = {abs(1 + sign * n) for n in scaled if n < 1 for sign in (1, -1)}
    years = {Decimal(year) for century in _CENTURY.findall(lower) for year in _years_of(century)}
    return plain | scaled | growth | {n / 2 for n in plain} | {n * 2 for n in plain} | years


_PLACES = -9
"""Exponent of the last decimal place that counts: what follows is the noise of floating point."""


class Amounts:
    """The amounts that texts tell, in order, so that the nearest ones to a value are found in a few steps."""

    def __init__(self, values: Iterable[Decimal]) -> None:
        self._values = frozenset(values)

    def __contains__(self, value: Decimal) -> bool:
        return value in self._values

    def tell(self, value: Decimal) -> bool:
        """Whether a value is one of the amounts, as it is or rounded to the value's own decimal places."""
        if value in self._values:
            return True
        exponent = value.as_tuple().exponent
        place = Decimal(1).scaleb(max(exponent, _PLACES) if isinstance(exponent, int) else 0)
        at = bisect(self._ordered, value)
        return any(abs(amount - value) * 2 <= place for amount in self._ordered[max(0, at - 1) : at + 1])

    @cached_property
    def _ordered(self) -> list[Decimal]:
        return sorted(self._values)


def afternoon_hours(text: str) -> set[Decimal]:
    """The hours of the afternoon that a text names, as a clock of 24 hours shows them."""
    return {Decimal(int(hour) + 12) for hour in _AFTERNOON.findall(text) if int(hour) < 12}


def _years_of(century: str) -> tuple[int, ...]:
    number = int(century) if century.isdecimal() else _WORDS.get(century, 0)
    return ((number - 1) * 100, (number - 1) * 100 + 1, number * 100, number * 100 + 1) if number else ()


def _in_words(lower: str) -> Iterator[Decimal]:
    """Numbers in words: each word, and what words in a row make (`one hundred and twenty`)."""
    total = current = Decimal(0)
    for word in map(_singular_ten, _WORD.findall(lower)):
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


def _singular_ten(word: str) -> str:
    return f"{word[:-3]}y" if word.endswith("ties") else word  # the nineteen-twenties
