"""Numbers in text, brought to one spelling: `1,335,907`, `twenty-two`, `1.18 trillion`, `third`, `10.80`.

Everything works on strings, so that a hostile prediction of a million digits costs a million steps and no more.
"""

from __future__ import annotations

import re
from decimal import Decimal

NUMBER = re.compile(r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?")
"""An unsigned number, with or without thousands separators, in text that holds ASCII digits."""

_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS = {word: value for value, word in enumerate(_UNITS)} | {word: 20 + 10 * i for i, word in enumerate(_TENS)}
_IRREGULAR_ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12,
}  # fmt: skip
_ORDINALS = (
    {f"{word}th": _WORDS[word] for word in _UNITS[4:]}
    | {f"{word[:-1]}ieth": _WORDS[word] for word in _TENS}
    | _IRREGULAR_ORDINALS
)
"""Regular forms of irregular words ("fiveth") are in it as well; nobody writes them."""
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_MAX_SCALED_DIGITS = 40


def plain_number(text: str) -> str:
    """A number without separators, leading zeros, or zeros after the point: `1,250.50` is `1250.5`, `007` is `7`."""
    sign = "-" if text.startswith("-") else ""
    whole, _, part = text.lstrip("-").replace(",", "").partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    if whole == "0" and not part:
        sign = ""
    return f"{sign}{whole}.{part}" if part else f"{sign}{whole}"


def is_number(token: str) -> bool:
    """Whether a token is a number in the spelling of `plain_number`."""
    return token.isascii() and token[-1:].isdigit() and token.lstrip("-").replace(".", "", 1).isdigit()


def ordinal(number: str) -> str:
    """The spelling of an ordinal: `3rd` and `third` are both `3th`, so that `3` stays something else."""
    return f"{number}th"


def spell_numbers(tokens: list[str]) -> list[str]:
    """Replace number words by digits and apply scales: `two hundred and six` is `206`, `1.18 million` is `1180000`."""
    spelled: list[str] = []
    position = 0
    while position < len(tokens):
        if is_number(tokens[position]):
            number, position = _scaled(tokens, position)
            spelled.append(number)
            continue
        value, is_ordinal, after = _number_words(tokens, position)
        if after == position:
            spelled.append(tokens[position])
            position += 1
        else:
            spelled.append(ordinal(str(value)) if is_ordinal else str(value))
            position = after
    return spelled


def _scaled(tokens: list[str], position: int) -> tuple[str, int]:
    """The number at `position`, multiplied by the scale words that follow it, and the position after them."""
    number, position = tokens[position], position + 1
    while position < len(tokens) and tokens[position] in _SCALES and len(number) < _MAX_SCALED_DIGITS:
        number = plain_number(format(Decimal(number).scaleb(_SCALES[tokens[position]]), "f"))
        position += 1
    return number, position


def _number_words(tokens: list[str], start: int) -> tuple[int, bool, int]:
    """Read a number in words from `start`: its value, whether it is an ordinal, and the position after it.

    The position is `start` itself when no number stands there.
    """
    total, group, position = 0, 0, start
    last = "nothing"  # the kind of the word before: "unit", "tens", "hundred" or "scale"
    while position < len(tokens):
        word = tokens[position]
        following = tokens[position + 1] if position + 1 < len(tokens) else ""
        value = _WORDS.get(word, _ORDINALS.get(word))
        if word == "and" and last in ("hundred", "scale") and (following in _WORDS or following in _ORDINALS):
            position += 1
        elif value is not None:
            if last == "unit" or (last == "tens" and not 0 < value < 10):
                break
            group += value
            position += 1
            if word in _ORDINALS:
                return total + group, True, position
            last = "tens" if value >= 20 else "unit"
        elif word == "hundred" and last in ("nothing", "unit", "scale"):
            group, last = max(group, 1) * 100, "hundred"
            position += 1
        elif word in _SCALES and last != "scale":
            total, group, last = total + max(group, 1) * 10 ** _SCALES[word], 0, "scale"
            position += 1
        else:
            break
    return total + group, False, position
