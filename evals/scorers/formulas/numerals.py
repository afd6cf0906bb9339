"""Numbers as people write them, read exactly: `1 1/2`, `1,234.5`, `1.234.567,8`, `1'000`, `-3/4`, `2.5e-3`, `50%`.

A text is a number as a whole or it is none. Nothing is cut away and nothing is pushed together: `2 3`, `5i`,
`5 million` and `1,2` are no numbers here. Where a comma or a point could mean two things, it means what it means in
English; `decimal_comma` reads the one form that English has no other use for.
"""

from __future__ import annotations

import re
from fractions import Fraction

MAX_DIGITS = 300
"""Characters of a number; longer ones are none."""
_MAX_EXPONENT = 400

_SPACE = r"(?:\\[,;: ]|\s)"
_GROUPED = (
    r"\d{1,3}(?:,\d{3})+(?!\d)"  # 1,234,567
    r"|\d{1,3}(?:\{,\}\d{3})+(?!\d)"  # 1{,}234{,}567
    rf"|\d{{1,3}}(?:{_SPACE}\d{{3}})+(?!\d)"  # 1 234 567
    r"|\d{1,3}(?:'\d{3})+(?!\d)"  # 1'234'567
    r"|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)"  # 12,34,567
)
_DECIMAL = re.compile(rf"(?P<whole>{_GROUPED}|\d+)?(?:\.(?P<part>\d+)?)?(?:[eE](?P<power>[-+]?\d{{1,4}}))?")
_EUROPEAN = re.compile(
    r"(?P<whole>\d{1,3}(?:\.\d{3}){2,}),?(?P<part>(?<=,)\d+)?|(?P<few>\d{1,3}(?:\.\d{3})+),(?P<rest>\d+)"
)
_COMMA = re.compile(r"(?P<whole>\d+),(?P<part>\d{1,2}|\d{4,})")
_RATIO = re.compile(r"(?P<up>\d+)\s*/\s*(?P<down>\d+)")
_MIXED = re.compile(r"(?P<whole>\d+)\s+(?P<up>\d+)\s*/\s*(?P<down>\d+)")
_SIGNED = re.compile(r"(?P<sign>[-+]?)\s*(?P<rest>.*)", re.DOTALL)
_NOT_DIGITS = re.compile(r"\D")


def read_number(text: str) -> Fraction | None:
    """The number that a whole text is (in `typography.one_spelling`), or None.

    A percent sign divides by 100. A space, an apostrophe or a thin space counts as a thousands separator where it
    makes groups of three digits; a point does where there are two of them or a decimal comma follows.
    """
    text = text.strip()
    if not text or len(text) > MAX_DIGITS or not text.isascii():
        return None
    if text.endswith("%"):
        number = read_number(text[:-1].rstrip().removesuffix("\\"))
        return None if number is None else number / 100
    match = _SIGNED.fullmatch(text)
    assert match is not None
    value = _unsigned(match["rest"])
    return None if value is None else -value if match["sign"] == "-" else value


def decimal_comma(text: str) -> Fraction | None:
    """The number that a text like `3,14` is in most of Europe; None where the comma could stand for thousands."""
    text = text.strip()
    sign, body = (-1, text[1:].strip()) if text.startswith("-") else (1, text)
    match = _COMMA.fullmatch(body) if len(body) <= MAX_DIGITS else None
    return sign * Fraction(f"{match['whole']}.{match['part']}") if match and match["whole"].isascii() else None


def _unsigned(text: str) -> Fraction | None:
    if match := _MIXED.fullmatch(text):
        up, down = int(match["up"]), int(match["down"])
        return int(match["whole"]) + Fraction(up, down) if 0 < up < down else None
    if match := _RATIO.fullmatch(text):
        return Fraction(int(match["up"]), int(match["down"])) if int(match["down"]) else None
    if match := _EUROPEAN.fullmatch(text):
        whole, part = match["whole"] or match["few"], match["part"] or match["rest"] or "0"
        return Fraction(f"{_NOT_DIGITS.sub('', whole)}.{part}")
    match = _DECIMAL.fullmatch(text)
    return decimal(match) if match else None


def literal_at(text: str, position: int, *, separators: bool) -> tuple[Fraction, int] | None:
    """The unsigned decimal number at a position of a formula and where it ends, or None.

    Args:
        text: the formula.
        position: where to look.
        separators: whether a comma can stand for thousands here; inside brackets it parts two items.
    """
    pattern = _LITERAL if separators else _LITERAL_IN_BRACKETS
    match = pattern.match(text, position)
    if match is None or (value := decimal(match)) is None:
        return None
    return value, match.end()


_TAIL = r"(?:\.(?P<part>\d+)?)?(?:[eE](?P<power>[-+]?\d{1,4})(?![\w.]))?"
_SAFE_GROUPS = r"\d{1,3}(?:\{,\}\d{3})+(?!\d)|\d{1,3}(?:\\[,;:]\d{3})+(?!\d)"
_LITERAL = re.compile(rf"(?P<whole>\d{{1,3}}(?:,\d{{3}})+(?!\d)|{_SAFE_GROUPS}|\d+)?{_TAIL}")
_LITERAL_IN_BRACKETS = re.compile(rf"(?P<whole>{_SAFE_GROUPS}|\d+)?{_TAIL}")


def decimal(match: re.Match[str]) -> Fraction | None:
    """The value of a match with the groups `whole`, `part` and `power`."""
    whole, part, power = match["whole"] or "", match["part"] or "", int(match["power"] or 0)
    if not (whole or part) or abs(power) > _MAX_EXPONENT or len(whole) + len(part) > MAX_DIGITS:
        return None
    return Fraction(f"{_NOT_DIGITS.sub('', whole) or '0'}.{part or '0'}") * Fraction(10) ** power
