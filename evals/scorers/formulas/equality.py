"""Whether two answers are the same: values by value, collections item by item, conditions by what they allow.

Where order means something (tuples, lists in brackets, matrices) it must be the same; sets, alternatives and plain
enumerations may come in any order. Several answers never equal one. A name may be left out (`5` for `x = 5`), not
changed, and several names may not be left out unless the order says which is which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from .answers import (
    ZERO,
    Answer,
    alternatives,
    answer_of,
    conditions_of,
    matrix_of,
    region_of,
)
from .arithmetic import UndefinedError
from .sampling import agree, holds, proportional, symbols_of
from .tree import Apply, Constant, Group, Matrix, Node, Relation, Symbol, UnreadableError

T = TypeVar("T")

MAX_ITEMS = 60

_UNORDERED = frozenset(("list", "or", "and", "{}"))
_ORDERED = frozenset(("()", "[]", "<>", "list"))
_TUPLES = frozenset(("()", "<>"))
_NOT_NUMBERS = frozenset(("true", "false", "reals", "empty", "integers", "naturals", "complexes", "rationals"))


def same(gold: Node, answer: Node) -> bool:
    """Whether an answer equals the reference."""
    try:
        return _same(answer_of(gold), answer_of(answer))
    except (UnreadableError, UndefinedError):
        return False


def _same(gold: Answer, answer: Answer) -> bool:
    if gold.name and answer.name and gold.name != answer.name:
        return _same_equation(gold, answer)
    if _same_body(gold.body, answer.body):
        return True
    return _same_equation(gold, answer)


def _same_equation(gold: Answer, answer: Answer) -> bool:
    """Whether two equations have the same solutions because one is a multiple of the other.

    A solved equation (`x = 5`) is not asked to be solved: only another equation of several variables equals one.
    """
    left, right = _equation(gold), _equation(answer)
    if left is None or right is None or len(symbols_of(left)) < 2:
        return False
    return proportional(left, right) is not None


def _equation(answer: Answer) -> Node | None:
    """The difference that an equation says to be zero."""
    if answer.name:
        return Apply("-", (Symbol(answer.name), answer.body)) if answer.name.isidentifier() else None
    if isinstance(answer.body, Relation) and answer.body.signs == ("=",):
        return Apply("-", answer.body.sides)
    return None


def _same_body(gold: Node, answer: Node) -> bool:
    gold, answer = _spread(gold), _spread(answer)
    if isinstance(gold, Matrix) or isinstance(answer, Matrix):
        return _same_matrix(gold, answer)
    if (equal := _same_region(gold, answer)) is not None:
        return equal
    if isinstance(gold, Group) or isinstance(answer, Group):
        return _same_group(gold, answer)
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return _same_conditions(gold, answer)
    if any(isinstance(node, Constant) and node.name in _NOT_NUMBERS for node in (gold, answer)):
        return gold == answer
    return agree(gold, answer)


def _spread(node: Node) -> Node:
    """Both values of a formula with ±."""
    if isinstance(node, Group | Matrix):
        return node
    found = alternatives(node)
    return Group("or", found) if len(found) > 1 else node


def _same_matrix(gold: Node, answer: Node) -> bool:
    left, right = _as_matrix(gold, answer), _as_matrix(answer, gold)
    if left is None or right is None or [len(row) for row in left.rows] != [len(row) for row in right.rows]:
        return False
    return all(
        same(a, b) for row, other in zip(left.rows, right.rows, strict=True) for a, b in zip(row, other, strict=True)
    )


def _as_matrix(node: Node, other: Node) -> Matrix | None:
    """A node as a matrix; a tuple is a column where the other is one."""
    if (found := matrix_of(node)) is not None:
        return found
    column = isinstance(other, Matrix) and len(other.rows[0]) == 1
    if column and isinstance(node, Group) and node.kind in ("()", "<>", "[]"):
        return Matrix(tuple((item,) for item in node.items))
    return None


def _same_region(gold: Node, answer: Node) -> bool | None:
    """Whether two parts of the real line are the same; None unless both are such parts and not just pairs or sets."""
    if (
        isinstance(gold, Group)
        and isinstance(answer, Group)
        and not _has_relations(gold)
        and not _has_relations(answer)
    ):
        return None
    left, right = region_of(gold), region_of(answer)
    if left is None or right is None:
        return None
    return len(left) == len(right) and _matched(left, right, lambda a, b: (
        (a.low_open, a.high_open) == (b.low_open, b.high_open) and same(a.low, b.low) and same(a.high, b.high)
    ))  # fmt: skip


def _has_relations(group: Group) -> bool:
    return any(isinstance(item, Relation) for item in group.items)


def _same_group(gold: Node, answer: Node) -> bool:
    if not isinstance(gold, Group) or not isinstance(answer, Group):
        return _same_conditions(gold, answer)
    if len(gold.items) != len(answer.items) or len(gold.items) > MAX_ITEMS:
        return _same_conditions(gold, answer)
    left, right = [answer_of(item) for item in gold.items], [answer_of(item) for item in answer.items]
    named, renamed = len({item.name for item in left} - {""}), len({item.name for item in right} - {""})
    if named > 1 or renamed > 1:
        return _same_assignments(left, right, answer.kind)
    names = {item.name for item in (*left, *right)} - {""}
    if len(names) > 1:
        return False
    if gold.kind in _UNORDERED and answer.kind in _UNORDERED:
        return _matched(_named_alike(left), _named_alike(right), _same) or _same_conditions(gold, answer)
    if not _comparable(gold, answer):
        return False
    if gold.kind in _UNORDERED and answer.kind == "[]":  # a list that sympy's solve prints
        return _matched(left, right, _same)
    return all(_same(a, b) for a, b in zip(left, right, strict=True))


def _comparable(gold: Group, answer: Group) -> bool:
    """Whether two groups are of a kind, so that their items can be compared in order.

    The brackets of a list matter only where it could be an interval.
    """
    if gold.kind == answer.kind or {gold.kind, answer.kind} <= _TUPLES or {gold.kind, answer.kind} <= {"()", "list"}:
        return True
    kinds = {gold.kind, answer.kind}
    return not _could_be_interval(gold) and not _could_be_interval(answer) and kinds <= (_ORDERED | _UNORDERED)


def _could_be_interval(group: Group) -> bool:
    """Whether a group in brackets is two numbers, the smaller one first."""
    if len(group.items) != 2 or group.kind in _UNORDERED or group.kind == "<>":
        return False
    if any(isinstance(item, Group | Matrix | Relation) or symbols_of(item) for item in group.items):
        return not any(isinstance(item, Group | Matrix | Relation) for item in group.items)
    return not holds(Relation((">",), group.items))


def _named_alike(items: list[Answer]) -> list[Answer]:
    """`x = 1, 2` names both values; a name that all share says nothing about which is which."""
    return [Answer("", item.body) for item in items]


def _same_assignments(gold: list[Answer], answer: list[Answer], kind: str) -> bool:
    """Values of several variables: by name, or in order where the answer leaves all names out."""
    if not any(item.name for item in answer):
        return kind in ("()", "list") and all(_same_body(a.body, b.body) for a, b in zip(gold, answer, strict=True))
    if not any(item.name for item in gold):
        ordered = sorted(answer, key=lambda item: item.name)
        return len({item.name for item in answer}) == len(answer) and all(
            _same_body(a.body, b.body) for a, b in zip(gold, ordered, strict=True)
        )
    return _matched(gold, answer, lambda a, b: a.name == b.name and _same(a, b))


def _same_conditions(gold: Node, answer: Node) -> bool:
    """Whether two sets of relations say the same, each relation up to a factor."""
    left, right = conditions_of(gold), conditions_of(answer)
    if not left or not right or len(left) != len(right) or len(left) > MAX_ITEMS:
        return False
    if any(isinstance(node, Group) and node.kind == "or" for node in (gold, answer)):
        return False
    return _matched(left, right, _same_condition)


def _same_condition(gold: tuple[str, Node], answer: tuple[str, Node]) -> bool:
    if gold[0] != answer[0]:
        return False
    factor = proportional(gold[1], answer[1])
    if factor is None:
        return agree(gold[1], ZERO) and agree(answer[1], ZERO)
    return factor > 0 or gold[0] in ("=", "!=")


def _matched(gold: Sequence[T], answer: Sequence[T], equal: Callable[[T, T], bool]) -> bool:
    """Whether items pair off in some order; equality is transitive, so the first that fits will do."""
    rest = list(answer)
    for item in gold:
        place = next((index for index, other in enumerate(rest) if equal(item, other)), None)
        if place is None:
            return False
        del rest[place]
    return not rest
