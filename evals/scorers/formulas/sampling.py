"""Whether two formulas have the same value wherever the first has one, tried at many points.

Points lie around every constant that the formulas hold, so that `|x - 1000|` is told from `1000 - x`, and far out.
Without variables there is one point, and hundreds of digits.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import mpmath  # type: ignore[import-untyped]

from .arithmetic import UndefinedError, Value, close, divide, is_finite
from .tree import Apply, Node, Number, Symbol, UnreadableError, children
from .values import Evaluator

DIGITS = 250
"""Precision of a formula without variables."""
DIGITS_AT_POINT = 50
MAX_MORE_DIGITS, MAX_MORE_AT_POINT = 8_000, 400
"""Digits that very large and very small values may need beside these; a point that needs more is passed over."""
POINTS = 60
NEEDED = 5
"""Points at which both have a value."""
MAX_NODES = 1_500

_POOL = tuple(Fraction(text) for text in (
    "1/3", "-1/2", "5/7", "2", "-7/3", "37/10", "-4", "11/5", "1/10", "-9/10", "1", "3", "4", "5", "6", "7", "-1", "17",
    "-13", "1000003/7", "-99991/11", "8/9", "-1/9", "251/10", "-263/10", "607/9", "-611/9", "1607/9", "-1613/9",
    "4027/9", "-4019/9", "12011/9", "-12007/9", "60013/9", "-60017/9",
))  # fmt: skip


def agree(gold: Node, answer: Node) -> bool:
    """Whether two formulas are equal; roots of negative numbers are real in both, or principal in both."""
    if gold == answer:
        return True
    if nodes_of(gold) + nodes_of(answer) > MAX_NODES:
        raise UnreadableError("is too long to be compared")
    names = sorted(symbols_of(gold) | symbols_of(answer))
    with mpmath.workdps(DIGITS_AT_POINT if names else DIGITS):
        if not names:
            return any((pair := _pair({}, gold, answer, real_roots=real)) and pair.equal for real in (True, False))
        points = list(_points(names, gold, answer))
        return any(_agree_at_all(points, gold, answer, real_roots=real) for real in (True, False))


def proportional(gold: Node, answer: Node) -> int | None:
    """The sign of the factor between two formulas, if it is the same everywhere; None if there is no such factor."""
    names = sorted(symbols_of(gold) | symbols_of(answer))
    with mpmath.workdps(DIGITS_AT_POINT if names else DIGITS):
        ratios: list[Value] = []
        for point in _points(names, gold, answer) if names else [{}]:
            pair = _pair(point, gold, answer, real_roots=True)
            if pair is None or pair.value is None or not (is_finite(pair.expected) and is_finite(pair.value)):
                continue
            if pair.ratio is not None:
                ratios.append(pair.ratio)
            elif pair.expected != pair.value:  # one of them is zero, the other is not
                return None
        if len(ratios) < (NEEDED if names else 1) or isinstance(ratios[0], mpmath.mpc):
            return None
        return (1 if ratios[0] > 0 else -1) if all(close(ratio, ratios[0]) for ratio in ratios) else None


def holds(condition: Node) -> bool:
    """Whether a condition without variables is true."""
    with mpmath.workdps(DIGITS):
        try:
            return Evaluator({}).holds(condition)
        except (UndefinedError, UnreadableError):
            return False


def symbols_of(node: Node) -> set[str]:
    """The names of the variables of a formula."""
    if isinstance(node, Symbol):
        return {node.name}
    return set().union(*map(symbols_of, children(node)))


def nodes_of(node: Node) -> int:
    """How many parts a formula has."""
    return 1 + sum(map(nodes_of, children(node)))


def _constants_of(node: Node) -> set[Fraction]:
    """The values of all parts without variables (of `10^9 - x`: 9, 10 and 10^9); what is not rational is rounded."""
    found = set().union(*map(_constants_of, children(node)))
    if isinstance(node, Number):
        return {node.value}
    if isinstance(node, Apply) and not symbols_of(node):
        try:
            value = Evaluator({}).value(node)
        except (UndefinedError, UnreadableError):
            return found
        if isinstance(value, Fraction):
            found.add(value)
        elif isinstance(value, mpmath.mpf) and is_finite(value) and abs(value) < 10**12:
            found.add(Fraction(int(mpmath.nint(value * 1000)), 1000))
    return found


def _points(names: list[str], gold: Node, answer: Node) -> Iterator[Mapping[str, Fraction]]:
    """Points in a fixed order: round values, values around the formulas' constants, and mixtures."""
    chance = random.Random(len(names))
    constants = sorted(_constants_of(gold) | _constants_of(answer), key=lambda value: (-abs(value), value))[:20]
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


@dataclass(frozen=True)
class _Pair:
    """The values of both formulas at a point; the second is None where it has none."""

    expected: Value
    value: Value | None
    equal: bool
    ratio: Value | None


def _pair(point: Mapping[str, Fraction], gold: Node, answer: Node, *, real_roots: bool) -> _Pair | None:
    """Both values at a point, with as many digits as it takes to see the smallest term beside the largest.

    None where the first has no value.
    """
    pair, span = _pair_at_precision(point, gold, answer, real_roots)
    if pair is not None and isinstance(pair.expected, Fraction) and isinstance(pair.value, Fraction):
        return pair
    digits = int(span * 0.302 * 2.6)
    if digits > (MAX_MORE_AT_POINT if point else MAX_MORE_DIGITS):
        raise UnreadableError("has values too large to be compared")
    if digits > DIGITS_AT_POINT // 5:
        with mpmath.workdps(mpmath.mp.dps + digits):
            pair, _ = _pair_at_precision(point, gold, answer, real_roots)
    return pair


def _pair_at_precision(
    point: Mapping[str, Fraction], gold: Node, answer: Node, real_roots: bool
) -> tuple[_Pair | None, int]:
    evaluator = Evaluator(point, real_roots=real_roots)
    try:
        expected = evaluator.value(gold)
    except UndefinedError:
        return None, 0
    try:
        value = evaluator.value(answer)
    except UndefinedError:
        return _Pair(expected, None, equal=False, ratio=None), evaluator.span
    both_finite = is_finite(expected) and is_finite(value) and value != 0
    ratio = divide(expected, value) if both_finite and expected != 0 else None
    return _Pair(expected, value, close(expected, value), ratio), evaluator.span


def _agree_at_all(points: list[Mapping[str, Fraction]], gold: Node, answer: Node, *, real_roots: bool) -> bool:
    real: list[bool] = []
    complex_ones: list[bool] = []
    missing = 0
    for point in points:
        try:
            pair = _pair(point, gold, answer, real_roots=real_roots)
        except UnreadableError:
            continue  # a value is too large here
        if pair is None:
            continue
        if pair.value is None:
            missing += 1
        elif isinstance(pair.expected, mpmath.mpc):
            complex_ones.append(pair.equal)
        elif pair.equal:
            real.append(True)
        else:
            return False
    # A formula that is real somewhere is compared where it is real: beyond, it depends on the branch of a root.
    decided = real if len(real) >= NEEDED else real + complex_ones
    return len(decided) >= NEEDED and all(decided) and missing <= len(decided) // 4
