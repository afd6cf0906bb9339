"""The value of a formula for given values of its variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

import mpmath  # type: ignore[import-untyped]

from .arithmetic import (
    CANCELLING,
    EXACT,
    FUNCTIONS,
    UndefinedError,
    Value,
    as_float,
    checked,
    compare,
    divide,
    guarded,
    is_real,
    magnitude,
    power,
    without_noise,
)
from .tree import Apply, Constant, Group, Matrix, Node, Number, Pieces, Relation, Symbol, UnreadableError

_MAX_SIDE = 6
"""Rows of a determinant."""

_CONSTANTS: Mapping[str, Callable[[], Value]] = {
    "pi": lambda: +mpmath.pi, "e": lambda: +mpmath.e, "i": lambda: mpmath.mpc(0, 1), "oo": lambda: mpmath.inf,
    "EulerGamma": lambda: +mpmath.euler, "GoldenRatio": lambda: +mpmath.phi, "Catalan": lambda: +mpmath.catalan,
}  # fmt: skip


class Evaluator:
    """Values of formulas at one point.

    Args:
        variables: the value of each symbol.
        real_roots: whether an odd root of a negative number is the real one, or the principal one.
    """

    def __init__(self, variables: Mapping[str, Fraction], *, real_roots: bool = True) -> None:
        self.variables = variables
        self.real_roots = real_roots
        self.span = 0
        """Binary digits between 1 and the largest or smallest value met on the way."""

    def value(self, node: Node) -> Value:
        """The value of a formula.

        Raises:
            UndefinedError: it has none at this point.
            UnreadableError: it is no formula of numbers, or its value is too large.
        """
        match node:
            case Number(value=value):
                return value
            case Symbol(name=name):
                return self.variables[name]
            case Constant(name=name) if name in _CONSTANTS:
                return _CONSTANTS[name]()
            case Group(items=(inner,)):
                return self.value(inner)
            case Pieces(branches=branches):
                return self._by_cases(branches)
            case Apply(name="det", arguments=(Matrix(rows=rows),)):
                return self._determinant([[self.value(entry) for entry in row] for row in rows])
            case Apply(name="log", arguments=(inner, base)):
                return divide(self._apply("log", [self.value(inner)]), self._apply("log", [self.value(base)]))
            case Apply(name=name, arguments=arguments):
                values = [self.value(argument) for argument in arguments]
                value = checked(self._apply(name, values))
                self.span = max([self.span, magnitude(value), *map(magnitude, values)])
                return without_noise(value, values) if name in CANCELLING else value
        raise UnreadableError("is no single number")

    def holds(self, condition: Node) -> bool:
        """Whether a condition on real numbers is true at this point."""
        match condition:
            case Constant(name="true"):
                return True
            case Constant(name="false"):
                return False
            case Group(kind="and" | "list", items=items):
                return all(self.holds(item) for item in items)
            case Group(kind="or", items=items):
                return any(self.holds(item) for item in items)
            case Relation(signs=signs, sides=sides) if "in" not in signs and "~" not in signs:
                values = [self.value(side) for side in sides]
                return all(
                    compare(left, sign, right) for left, sign, right in zip(values, signs, values[1:], strict=False)
                )
        raise UnreadableError("has a condition that is not read")

    def _by_cases(self, branches: tuple[tuple[Node, Node | None], ...]) -> Value:
        for value, condition in branches:
            if condition is None or self.holds(condition):
                return self.value(value)
        raise UndefinedError

    def _determinant(self, rows: list[list[Value]]) -> Value:
        if len(rows) != len(rows[0]) or len(rows) > _MAX_SIDE:
            raise UnreadableError("has a determinant of no square, or too large a matrix")
        if len(rows) == 1:
            return rows[0][0]
        minors = ([[*row[:column], *row[column + 1 :]] for row in rows[1:]] for column in range(len(rows)))
        return sum((-1) ** column * rows[0][column] * self._determinant(minor) for column, minor in enumerate(minors))

    def _apply(self, name: str, arguments: list[Value]) -> Value:
        if name in EXACT:
            return EXACT[name](*arguments)
        if name == "^":
            return power(arguments[0], arguments[1], real_roots=self.real_roots)
        if name in ("root", "cbrt"):
            return self._root(arguments[0], arguments[1] if len(arguments) == 2 else Fraction(3))
        if name.startswith("call "):
            # Some function of its arguments, the same for each name: two formulas agree only if they use it alike.
            shift = Fraction(sum(map(ord, name)), 97)
            return sum(
                (mpmath.sin(as_float(item) * (3 + n) + as_float(shift)) for n, item in enumerate(arguments)),
                mpmath.mpf(0),
            )
        if name not in FUNCTIONS:
            raise UnreadableError(f"holds {name!r}, for which there is no value")
        return guarded(FUNCTIONS[name], arguments)

    def _root(self, value: Value, degree: Value) -> Value:
        if not isinstance(degree, Fraction) or degree.denominator != 1 or degree < 1:
            raise UnreadableError("has a root of a degree that is no whole number")
        if degree % 2 and is_real(value) and value < 0:
            return -power(-value, 1 / degree, real_roots=False)
        return power(value, 1 / degree, real_roots=False)
