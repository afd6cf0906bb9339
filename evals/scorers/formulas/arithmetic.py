"""Arithmetic on exact fractions and, where a result is not rational, on numbers of many digits.

Everything is bounded: a power or factorial too large to be written out is refused, not computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]

from .tree import UnreadableError

Value = Any
"""A `Fraction` or one of mpmath's numbers, which have no types."""

MAX_BITS = 200_000
"""Size of an exact number."""
MAX_MAGNITUDE = 1_000_000
"""Size of the binary exponent of any other number."""


class UndefinedError(ValueError):
    """The formula has no value here: a pole, a logarithm of 0, no case that applies."""


FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "cot": mpmath.cot, "sec": mpmath.sec, "csc": mpmath.csc,
    "asin": mpmath.asin, "acos": mpmath.acos, "atan": mpmath.atan, "acot": mpmath.acot, "asec": mpmath.asec,
    "acsc": mpmath.acsc, "sinh": mpmath.sinh, "cosh": mpmath.cosh, "tanh": mpmath.tanh, "coth": mpmath.coth,
    "sech": mpmath.sech, "csch": mpmath.csch, "asinh": mpmath.asinh, "acosh": mpmath.acosh, "atanh": mpmath.atanh,
    "acoth": mpmath.acoth, "exp": mpmath.exp, "arg": mpmath.arg, "re": mpmath.re, "im": mpmath.im,
    "conjugate": mpmath.conj, "gamma": mpmath.gamma, "factorial2": mpmath.fac2, "erf": mpmath.erf, "erfc": mpmath.erfc,
    "zeta": mpmath.zeta, "lambertw": mpmath.lambertw, "besselj": mpmath.besselj, "beta": mpmath.beta,
    "atan2": mpmath.atan2, "loggamma": mpmath.loggamma, "digamma": mpmath.digamma, "erfi": mpmath.erfi, "Ei": mpmath.ei,
    "Si": mpmath.si, "Ci": mpmath.ci, "li": mpmath.li, "harmonic": mpmath.harmonic, "fibonacci": mpmath.fibonacci,
    "sinc": mpmath.sinc, "airyai": mpmath.airyai, "airybi": mpmath.airybi, "bessely": mpmath.bessely,
    "besseli": mpmath.besseli, "besselk": mpmath.besselk, "polylog": mpmath.polylog, "RisingFactorial": mpmath.rf,
    "FallingFactorial": mpmath.ff, "legendre": mpmath.legendre, "chebyshevt": mpmath.chebyt,
    "chebyshevu": mpmath.chebyu, "hermite": mpmath.hermite, "polygamma": lambda n, x: mpmath.psi(int(n), x),
    "uppergamma": lambda s, x: mpmath.gammainc(s, x), "lowergamma": lambda s, x: mpmath.gammainc(s, 0, x),
    "subfactorial": lambda n: mpmath.nint(mpmath.factorial(n) / mpmath.e),
}  # fmt: skip


def as_float(value: Value) -> Value:
    """An exact number in mpmath's arithmetic, at its present precision."""
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def is_real(value: Value) -> bool:
    return isinstance(value, Fraction | mpmath.mpf)


def magnitude(value: Value) -> int:
    """How many binary digits a value is away from 1, to either side; 0 for zero and for what is not finite."""
    if isinstance(value, Fraction):
        return abs(value.numerator.bit_length() - value.denominator.bit_length()) if value else 0
    return abs(mpmath.mag(value)) if value != 0 and mpmath.isfinite(value) else 0


def is_finite(value: Value) -> bool:
    """Whether a value is a number, not infinite and not undefined."""
    return isinstance(value, Fraction) or bool(mpmath.isfinite(value))


def checked(value: Value) -> Value:
    """The value, unless it is too large or no number."""
    if isinstance(value, int):
        value = Fraction(value)
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise UnreadableError("has a value too large to be computed")
        return value
    if mpmath.isnan(value):
        raise UndefinedError
    if mpmath.isfinite(value) and value != 0 and abs(mpmath.mag(value)) > MAX_MAGNITUDE:
        raise UnreadableError("has a value too large to be computed")
    if isinstance(value, mpmath.mpc) and mpmath.isfinite(value):
        if abs(value.imag) <= abs(value) * tolerance():
            return value.real
        if abs(value.real) <= abs(value) * tolerance():
            return mpmath.mpc(0, value.imag)
    return value


CANCELLING = frozenset((
    "+", "-", "mod", "sin", "cos", "tan", "cot", "sec", "csc", "log", "asin", "acos", "atan", "sinh", "tanh", "asinh",
    "acosh", "atanh", "arg", "re", "im",
))  # fmt: skip
"""Operations that can lose all digits; what they leave of a zero is noise of the last digits of their arguments."""


def without_noise(value: Value, arguments: list[Value]) -> Value:
    """The value, or 0 if it is too small beside the arguments to be anything but rounding."""
    if isinstance(value, Fraction) or not mpmath.isfinite(value):
        return value
    sizes = [abs(as_float(argument)) for argument in arguments if is_finite(argument)]
    return mpmath.mpf(0) if sizes and abs(value) <= max(sizes) * tolerance() else value


def tolerance() -> Value:
    """How near two values must be, relative to their size, to be the same at the present precision."""
    return mpmath.mpf(10) ** (-(mpmath.mp.dps * 4 // 5))


def guarded(function: Callable[..., Value], arguments: list[Value]) -> Value:
    try:
        return function(*map(as_float, arguments))
    except (ValueError, ZeroDivisionError, mpmath.libmp.NoConvergence, TypeError):
        raise UndefinedError from None
    except OverflowError:
        raise UnreadableError("has a value too large to be computed") from None


def _both(left: Value, right: Value, operate: Callable[[Value, Value], Value]) -> Value:
    exact = isinstance(left, Fraction) and isinstance(right, Fraction)
    return operate(left, right) if exact else operate(as_float(left), as_float(right))


def divide(left: Value, right: Value) -> Value:
    if right == 0:
        raise UndefinedError
    return _both(left, right, lambda a, b: a / b)


def power(base: Value, exponent: Value, *, real_roots: bool) -> Value:
    if base == 0 and not (is_real(exponent) and exponent > 0):
        if exponent == 0:
            return Fraction(1)
        raise UndefinedError
    if isinstance(exponent, Fraction):
        if isinstance(base, Fraction) and (exact := _exact_power(base, exponent)) is not None:
            return exact
        if real_roots and exponent.denominator % 2 and exponent.denominator > 1 and is_real(base) and base < 0:
            size = power(-base, exponent, real_roots=False)
            return size if exponent.numerator % 2 == 0 else -size
    if is_finite(base) and is_finite(exponent) and base != 0:
        size = abs(mpmath.mag(as_float(base))) + 1
        if size * abs(as_float(exponent)) > MAX_MAGNITUDE and abs(as_float(base)) != 1:
            raise UnreadableError("has a power too large to be computed")
    return guarded(lambda a, b: a**b, [base, exponent])


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    """A rational power of a rational number; None if it is no rational number or too large for one."""
    if abs(base) in (0, 1) and exponent.denominator == 1:
        return base if exponent % 2 or base >= 0 else Fraction(1)
    if exponent.denominator == 2 and base >= 0:
        up, down = math.isqrt(base.numerator), math.isqrt(base.denominator)
        if up * up == base.numerator and down * down == base.denominator:
            return _exact_power(Fraction(up, down), Fraction(exponent.numerator))
    if exponent.denominator != 1:
        return None
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    return base ** int(exponent) if bits * abs(exponent) <= MAX_BITS else None


def _logarithm(value: Value) -> Value:
    if value == 0:
        raise UndefinedError
    return Fraction(0) if value == 1 else guarded(mpmath.log, [value])


def _real(value: Value) -> Value:
    if not is_real(value) or not is_finite(value):
        raise UndefinedError
    return value


def _floor(value: Value) -> Value:
    value = _real(value)
    if isinstance(value, Fraction):
        return Fraction(math.floor(value))
    if value != 0 and mpmath.mag(value) > mpmath.mp.prec // 2:
        raise UnreadableError("rounds a value too large to be computed")
    nearest = mpmath.nint(value)
    if abs(value - nearest) < mpmath.mpf(2) ** (-mpmath.mp.prec // 2):
        raise UndefinedError  # too close to a whole number to know on which side
    return Fraction(int(mpmath.floor(value)))


def _factorial(value: Value) -> Value:
    if isinstance(value, Fraction) and value.denominator == 1 and 0 <= value <= 2000:
        return Fraction(math.factorial(int(value)))
    if abs(as_float(value)) > 10_000:
        raise UnreadableError("has a factorial too large to be computed")
    return guarded(mpmath.factorial, [value])


def _binomial(above: Value, below: Value) -> Value:
    whole = isinstance(above, Fraction) and isinstance(below, Fraction) and above.denominator == below.denominator == 1
    if whole and 0 <= below <= above <= 5000:
        return Fraction(math.comb(int(above), int(below)))
    if max(abs(as_float(above)), abs(as_float(below))) > 10_000:
        raise UnreadableError("has a binomial coefficient too large to be computed")
    return guarded(mpmath.binomial, [above, below])


def _modulo(value: Value, modulus: Value) -> Value:
    if modulus == 0:
        raise UndefinedError
    return _both(_real(value), _real(modulus), lambda a, b: a % b)


def _whole(values: tuple[Value, ...]) -> list[int]:
    if not all(isinstance(value, Fraction) and value.denominator == 1 for value in values):
        raise UndefinedError
    return [int(value) for value in values]


def _absolute(value: Value) -> Value:
    return abs(value)


EXACT: Mapping[str, Callable[..., Value]] = {
    "+": lambda a, b: _both(a, b, lambda x, y: x + y),
    "-": lambda a, b: _both(a, b, lambda x, y: x - y),
    "*": lambda a, b: _both(a, b, lambda x, y: x * y),
    "/": divide,
    "neg": lambda a: -a,
    "percent": lambda a: divide(a, Fraction(100)),
    "degree": lambda a: as_float(a) * mpmath.pi / 180,
    "abs": _absolute,
    "sqrt": lambda a: power(a, Fraction(1, 2), real_roots=False),
    "log": _logarithm,
    "floor": _floor,
    "ceiling": lambda a: -_floor(-a),
    "sign": lambda a: Fraction((_real(a) > 0) - (a < 0)),
    "factorial": _factorial,
    "binomial": _binomial,
    "mod": _modulo,
    "max": lambda *values: max(map(_real, values), key=as_float),
    "min": lambda *values: min(map(_real, values), key=as_float),
    "gcd": lambda *values: Fraction(math.gcd(*_whole(values))),
    "lcm": lambda *values: Fraction(math.lcm(*_whole(values))),
}


def compare(left: Value, sign: str, right: Value) -> bool:
    left, right = _real(left), _real(right)
    equal = left == right if isinstance(left, Fraction) and isinstance(right, Fraction) else close(left, right)
    less = not equal and bool(as_float(left) < as_float(right))
    return {
        "=": equal, "!=": not equal, "<": less, "<=": less or equal, ">": not (less or equal), ">=": not less,
    }[sign]  # fmt: skip


def close(left: Value, right: Value) -> bool:
    """Whether two values are equal: exactly if both are exact, else to four fifths of the present precision."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    left, right = as_float(left), as_float(right)
    if not (mpmath.isfinite(left) and mpmath.isfinite(right)):
        return bool(left == right)
    return bool(abs(left - right) <= max(abs(left), abs(right)) * tolerance())
