"""Whether two formulas have the same value wherever the first has one, tried at many points.

Points lie around every constant that the formulas hold, so that `|x - 1000|` is told from `1000 - x`, and far out.
Without variables there is one point, and hundreds of digits.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from fractions import Fraction

import mpmath  # type: ignore[import-untyped]

from .arithmetic import UndefinedError, Value, close, divide, is_finite
from .tree import Node, Number, Symbol, UnreadableError, children
from .values import Evaluator

DIGITS = 250
"""Precision of a formula without variables."""
DIGITS_AT_POINT = 50
POINTS = 60
NEEDED = 5
"""Points at which both have a value."""
MAX_NODES = 1_500

_POOL = tuple(Fraction(text) for text in (
    "1/3", "-1/2", "5/7", "2", "-7/3", "37/10", "-4", "11/5", "1/10", "-9/10", "1", "3", "4", "5", "6", "7", "-1", "17",
    "-13", "1000003/7", "-999983/11", "8/9", "-1/9",
))  # fmt: skip


def agree(gold: Node, answer: Node) -> bool:
    """Whether two formulas are equal; roots of negative numbers are real in both, or principal in both."""
    if nodes_of(gold) + nodes_of(answer) > MAX_NODES:
        raise UnreadableError("is too long to be compared")
    names = sorted(symbols_of(gold) | symbols_of(answer))
    if not names:
        with mpmath.workdps(DIGITS):
            return any(_agree_at({}, gold, answer, real_roots=real) is True for real in (True, False))
    with mpmath.workdps(DIGITS_AT_POINT):
        points = list(_points(names, gold, answer))
        return any(_agree_at_all(points, gold, answer, real_roots=real) for real in (True, False))


def proportional(gold: Node, answer: Node) -> Fraction | None:
    """The factor between two formulas if it is the same everywhere: its sign as 1 or -1; None if there is none."""
    names = sorted(symbols_of(gold) | symbols_of(answer))
    with mpmath.workdps(DIGITS_AT_POINT):
        factor, found = None, 0
        for point in _points(names, gold, answer) if names else [{}]:
            values = _values(point, gold, answer, real_roots=True)
            if values is None or not all(map(is_finite, values)):
                continue
            left, right = values
            if left == 0 or right == 0:
                if left != right:
                    return None
                continue
            ratio = divide(left, right)
            if factor is not None and not close(ratio, factor):
                return None
            factor, found = ratio, found + 1
        if factor is None or isinstance(factor, mpmath.mpc) or found < (NEEDED if names else 1):
            return None
        return Fraction(1 if factor > 0 else -1)


def symbols_of(node: Node) -> set[str]:
    """The names of the variables of a formula."""
    if isinstance(node, Symbol):
        return {node.name}
    return set().union(*map(symbols_of, children(node)))


def nodes_of(node: Node) -> int:
    """How many parts a formula has."""
    return 1 + sum(map(nodes_of, children(node)))


def _constants_of(node: Node) -> set[Fraction]:
    if isinstance(node, Number):
        return {node.value}
    return set().union(*map(_constants_of, children(node)))


def _points(names: list[str], gold: Node, answer: Node) -> Iterator[Mapping[str, Fraction]]:
    """Points in a fixed order: round values, values around the formulas' constants, and mixtures."""
    chance = random.Random(len(names))
    constants = sorted(_constants_of(gold) | _constants_of(answer))[:20]
    around = [
        sign * value + shift
        for value in constants
        for sign in (1, -1)
        for shift in (0, Fraction(1, 7), -Fraction(2, 9))
    ]
    pool = [*_POOL, *around]
    if len(names) == 1:
        yield from ({names[0]: value} for value in pool)
        return
    for _ in range(POINTS):
        yield {name: chance.choice(pool) + chance.choice((0, Fraction(chance.randint(1, 40), 41))) for name in names}


def _values(point: Mapping[str, Fraction], gold: Node, answer: Node, *, real_roots: bool) -> tuple[Value, Value] | None:
    """The values of both at a point; None where the first has none."""
    evaluator = Evaluator(point, real_roots=real_roots)
    try:
        expected = evaluator.value(gold)
    except (UndefinedError, UnreadableError):
        if not point:
            raise
        return None
    try:
        return expected, evaluator.value(answer)
    except UndefinedError:
        return expected, mpmath.nan


def _agree_at(point: Mapping[str, Fraction], gold: Node, answer: Node, *, real_roots: bool) -> bool | None:
    """Whether both are equal at a point; None where one of them has no value."""
    try:
        values = _values(point, gold, answer, real_roots=real_roots)
    except UndefinedError:
        return None
    if values is None or any(not isinstance(value, Fraction) and mpmath.isnan(value) for value in values):
        return None
    return close(*values)


def _agree_at_all(points: list[Mapping[str, Fraction]], gold: Node, answer: Node, *, real_roots: bool) -> bool:
    real: list[bool] = []
    complex_ones: list[bool] = []
    missing = 0
    for point in points:
        try:
            values = _values(point, gold, answer, real_roots=real_roots)
        except UnreadableError:
            continue  # the answer's value is too large here
        if values is None:
            continue
        expected, value = values
        if not isinstance(value, Fraction) and mpmath.isnan(value):
            missing += 1
        elif isinstance(expected, mpmath.mpc):
            complex_ones.append(close(expected, value))
        else:
            real.append(close(expected, value))
            if not real[-1]:
                return False
    # A formula that is real somewhere is compared where it is real: beyond, it depends on the branch of a root.
    decided = real if len(real) >= NEEDED else real + complex_ones
    return len(decided) >= NEEDED and all(decided) and missing <= len(decided) // 4
