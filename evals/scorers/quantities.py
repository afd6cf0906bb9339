"""An amount as people write it, taken apart: the number or formula, its unit or currency, and whether it is "about".

Nothing is dropped: a word that is no unit leaves the text no amount. Scale words are part of the number: `5 million`
is 5000000.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from evals.scorers.formulas.numerals import decimal_comma, read_number
from evals.scorers.formulas.typography import one_spelling
from evals.scorers.quantity import spell_numbers
from evals.scorers.units import CURRENCIES, CURRENCY_SIGNS, SHORT, Unit, unit_of

MAX_AMOUNT = 1_000
"""Characters of a text that is taken apart."""

_WRAPPER = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mbox|operatorname|mathit|mathsf|mathbf)\s*\{([^{}]*)\}"
)
_SPACING = re.compile(r"(?<!\\)\\(?:[,;:](?!\d{3}(?!\d))|[! ]|quad(?![A-Za-z]))")
"""Space commands, except where they part thousands."""
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\(?:circ|degree)(?![A-Za-z]))|\\degree(?![A-Za-z])")
_UNIT_LETTER = re.compile(r"(?<=\d)\s*\\(Omega|mu)\s(?=m\b|g\b|\W|$)")
_ABOUT = re.compile(
    r"(?:about|approximately|approx\.?|around|roughly|circa|ca\.?(?=\s)|c\.|some|an estimated|estimated at|"
    r"~|≈|\\approx|\\sim)\s*",
    re.IGNORECASE,
)
_DIMENSION = re.compile(
    r"\s+(?:high|tall|long|wide|deep|thick|altogether|above sea level|"
    r"in (?:total|all|length|height|width|depth|size))\Z"
)
_SIGN_WORD = re.compile(r"(?:minus|negative)\s+(?=[\d.$€£]|[a-z]+\b)", re.IGNORECASE)
_CURRENCY = re.compile(
    rf"(-?)\s*({'|'.join(re.escape(name) for name in sorted(CURRENCIES, key=len, reverse=True))})\s?(?=[\d.])"
)
_SCALES = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "mn": 10**6, "bn": 10**9,
}  # fmt: skip
_SCALE = re.compile(
    rf"(?P<number>.*\d[\d.,]*)\s*(?P<scales>(?:\s*\b(?:{'|'.join(_SCALES)})\b)+)", re.IGNORECASE | re.DOTALL
)
_TAIL = re.compile(r"(?:(?<=[\d)}\]])|(?<=\s)|(?<=pi))(?=[A-Za-z°%µΩ¢€£¥₹₽₩$])")
_PERCENT = re.compile(r"\s*(?:\\?%|percent|per cent|percentage points?|pct\.?)", re.IGNORECASE)


@dataclass(frozen=True)
class Amount:
    """A text as an amount."""

    core: str
    """What is left of the text: the number or formula, in one spelling."""
    number: Fraction | None
    """The value of the core if it is a number as it stands; of a percentage, the number before the sign."""
    unit: Unit | None = None
    percent: bool = False
    about: bool = False

    @property
    def value(self) -> Fraction | None:
        """The number, a percentage as a share of 1."""
        return self.number / 100 if self.number is not None and self.percent else self.number


def amount_of(text: str, nouns: Iterable[str] = ()) -> Amount:
    """Take a text apart.

    Args:
        text: any text; one that is no amount comes back as its own core.
        nouns: words that are units here.
    """
    plain = undressed(text[:MAX_AMOUNT])
    rest, about = plain, False
    if match := _ABOUT.match(rest):
        rest, about = rest[match.end() :], True
    negative = False
    if match := _SIGN_WORD.match(rest):
        rest, negative = rest[match.end() :], True
    rest, currency = _without_currency(rest)
    core, unit, percent = _split(_DIMENSION.sub("", rest), nouns)
    if currency is not None and (percent or unit not in (None, currency)):
        return Amount(plain, read_number(plain))
    unit = currency or unit
    number = _number(core)
    if negative:
        if number is None:
            return Amount(plain, None)
        number, core = -number, str(-number)
    return Amount(core if number is None else str(number), number, unit, percent, about)


def undressed(text: str) -> str:
    """A text in one spelling of signs, without dollar signs around a formula and without commands for upright text."""
    text = _UNIT_LETTER.sub(lambda match: {"Omega": "Ω", "mu": "µ"}[match[1]], one_spelling(_DEGREES.sub("°", text)))
    text = text.strip()
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")):
        inner = text[len(opening) : len(text) - len(closing)]
        if text.startswith(opening) and text.endswith(closing) and inner and opening not in inner:
            text = inner.strip()
    for _ in range(3):
        text = _WRAPPER.sub(r" \1 ", text)
    text = _SPACING.sub(" ", text)
    text = text.replace("\\$", "$").replace("\\%", "%").replace("~", " ") if not text.startswith("~") else text
    return re.sub(r"(?<!\.)[.,;:]$", "", text.strip()).strip()


def _without_currency(text: str) -> tuple[str, Unit | None]:
    match = _CURRENCY.match(text)
    if match is None or "$" in text[match.end() :] or any(sign in text[match.end() :] for sign in CURRENCY_SIGNS):
        return text, None
    return match[1] + text[match.end() :], CURRENCIES[match[2]]


def _split(text: str, nouns: Iterable[str]) -> tuple[str, Unit | None, bool]:
    """A text without the unit or percent sign at its end, and these; the longest unit that can be read is taken."""
    if match := re.search(rf"(?<=[\d.)}}]){_PERCENT.pattern}\Z", text, re.IGNORECASE):
        return text[: match.start()].strip(), None, True
    nouns = tuple(nouns)
    for match in _TAIL.finditer(text):
        core, tail = text[: match.start()].rstrip(), text[match.start() :]
        apart = len(core) < match.start()
        if _can_have_unit(core, tail, apart=apart) and (unit := unit_of(tail, nouns)) is not None:
            return core, unit, False
    return text, None, False


def _can_have_unit(core: str, tail: str, *, apart: bool) -> bool:
    """Whether what follows a number or a formula may be its unit, and is no variable or exponent of it."""
    number = _number(core)
    first = re.match(r"[A-Za-z]+", tail)
    if first is not None and first[0] in SHORT:
        return apart and number is not None
    return number is not None or re.search(r"[\d)}\]]\Z|pi\Z", core) is not None


def _number(text: str) -> Fraction | None:
    """The number that a text is, in digits, in words, or in digits with scale words."""
    if (number := read_number(text)) is not None:
        return number
    if match := _SCALE.fullmatch(text):
        number = read_number(match["number"])
        for word in match["scales"].lower().split():
            number = None if number is None else number * _SCALES[word]
        return number
    return _in_words(text)


def _in_words(text: str) -> Fraction | None:
    """The value of a number in words (`twenty-two`, `two hundred and six`)."""
    if len(text) > 100 or not re.fullmatch(r"[A-Za-z]+(?:[\s-]+[A-Za-z]+)*", text):
        return None
    found = spell_numbers(text.lower().replace("-", " ").split())
    return Fraction(found[0]) if len(found) == 1 and found[0].isdigit() else None


def with_decimal_comma(amount: Amount) -> Fraction | None:
    """The number of an amount that is written with a decimal comma."""
    return decimal_comma(amount.core)
