"""Values that programs contain by custom, without a source: counts, units of time and measure, constants."""

from __future__ import annotations

import math
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

_VALUES = frozenset(
    map(
        Decimal,
        [
            *map(str, range(13)),
            *("0.25", "0.5", "0.75", "1.5"),
            *("16", "32", "64", "128", "256", "512", "1024", "26", "65", "97"),  # bases, bits, letters and their codes
            *("24", "28", "29", "30", "31", "52", "60", "365", "365.25", "366", "400"),  # the calendar
            *("1440", "3600", "86400", "604800", "1970", "2000"),  # and its conventional years
            *("45", "90", "180", "270", "360"),  # angles
            *("1.8", "3.6", "1.6", "2.2", "9.8", "3E+8"),  # conversions and constants, shortened
        ],
    )
)

_CONSTANTS = (
    *(Decimal(repr(value)) for value in (math.pi, math.tau, math.e, math.sqrt(2), math.sqrt(3), math.log(2))),
    *map(Decimal, ("1.618033988749895", "0.5772156649015329", "0.017453292519943295", "57.29577951308232")),
    *map(Decimal, ("2.54", "30.48", "0.3048", "1.609344", "0.621371", "0.45359237", "2.20462262", "28.349523")),
    *map(Decimal, ("273.15", "9.80665", "9.81", "4.184", "365.2425", "30.4375", "101325", "8.314462618")),
    *map(Decimal, ("299792458", "6.02214076E+23", "6.67430E-11", "1.380649E-23", "6.62607015E-34")),
)
"""Of mathematics, conversions and physics; they may be shortened to three digits, or to five in another unit."""

_TABLES = tuple(
    frozenset(map(Decimal, table))
    for table in (
        (1, 4, 5, 9, 10, 40, 50, 90, 100, 400, 500, 900, 1000),  # of Roman numerals
        [n for n in range(2, 200) if all(n % d for d in range(2, math.isqrt(n) + 1))],
        [1 << n for n in range(33)],
        (1, 2, 5, 10, 20, 25, 50, 100, 200, 500),  # of coins and notes
    )
)
_SHORTEST_TABLE = 5

_DIGITS = 3
_DIGITS_ELSEWHERE = 5
"""With so many digits a constant is known at any power of ten: 299792.458 km/s."""


def is_customary(value: Decimal) -> bool:
    """Whether programs contain a value (not negative) by custom."""
    if not value.is_finite() or value in _VALUES or (_significant(value) == 1 and _leading(value) == 1):
        return True
    return _significant(value) >= _DIGITS and any(_shortens(value, constant) for constant in _CONSTANTS)


def is_round(value: Decimal) -> bool:
    """Whether a value has one digit and zeros, as bounds of a search have."""
    return _significant(value) == 1


def is_plain(value: Decimal) -> bool:
    """Whether a value has two digits and zeros at most, as values that are made up have; 365.25 and pi do not."""
    return _significant(value) < _DIGITS


def is_table(values: frozenset[Decimal]) -> bool:
    """Whether values are from one well-known table (Roman numerals, primes, powers of two, coins)."""
    return len(values) >= _SHORTEST_TABLE and any(values <= table for table in _TABLES)


def _digits(value: Decimal) -> str:
    return "".join(map(str, value.as_tuple().digits)).strip("0")


def _significant(value: Decimal) -> int:
    return len(_digits(value))


def _leading(value: Decimal) -> int:
    digits = _digits(value)
    return int(digits[0]) if digits else 0


def _shortens(value: Decimal, constant: Decimal) -> bool:
    digits = _significant(value)
    if digits >= _DIGITS_ELSEWHERE:
        value = value.scaleb(constant.adjusted() - value.adjusted())
    shift = digits - 1 - constant.adjusted()
    scaled = constant.scaleb(shift)
    return value.scaleb(shift) in (
        scaled.to_integral_value(ROUND_HALF_UP),
        scaled.to_integral_value(ROUND_DOWN),
    )
