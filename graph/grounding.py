"""Whether the numbers of a claim stand in the results it is made from.

A small verifier does sums in its head, or names a figure that it believes, and calls the question answered. The figure
is then neither found nor computed: it is a hallucination that happens to be written in the judgement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

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
