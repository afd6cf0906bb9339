"""What a formula says as an answer: which value, under which name, or which region of the real line."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from .sampling import agree, symbols_of
from .tree import Apply, Constant, Group, Matrix, Node, Number, Relation, Symbol, UnreadableError, children

INFINITY, MINUS_INFINITY = Constant("oo"), Apply("neg", (Constant("oo"),))
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}


@dataclass(frozen=True)
class Answer:
    """A value and the name that it is given (`x = 5`, `f(x) = x^2`), empty where there is none."""

    name: str
    body: Node


def answer_of(node: Node) -> Answer:
    """What is left of an answer without its brackets, its name and the steps of its computation.

    A chain of equal sides counts as its last side if all of them have that value; `2 + 2 = 5` stays a relation, which
    equals no number.
    """
    if isinstance(node, Group) and len(node.items) == 1:
        return answer_of(node.items[0])
    if isinstance(node, Relation) and node.signs == ("in",) and (name := label_of(node.sides[0])):
        return Answer(name, node.sides[1])
    if not isinstance(node, Relation) or set(node.signs) - {"=", "~"}:
        return Answer("", node)
    sides = node.sides
    name = label_of(sides[0])
    if not name and len(sides) == 2 and (name := label_of(sides[1])) and not symbols_of(sides[0]):
        return Answer(name, sides[0])
    values = sides[1:] if name else sides
    if name and any(symbols_of(sides[0]) & symbols_of(value) for value in values if isinstance(sides[0], Symbol)):
        return Answer("", node)
    if not _all_equal(values, node.signs[-1]):
        return Answer("", node)
    return Answer(name, values[-1])


def label_of(node: Node) -> str:
    """The name that the left side of `name = value` is; empty if it is a formula of its own."""
    match node:
        case Symbol(name=name):
            return name
        case Constant(name="e" | "i" as name):
            return name
        case Apply(name=name, arguments=arguments) if name.startswith("call "):
            return name.removeprefix("call ") if all(label_of(item) for item in arguments) else name
        case Apply(name="*", arguments=(left, right)):
            parts = (label_of(left), label_of(right))
            return "*".join(parts) if all(parts) else ""
    return ""


def _all_equal(values: tuple[Node, ...], last_sign: str) -> bool:
    """Whether the sides of a chain are one value; a rounded last side may follow an exact one."""
    if len(values) == 1:
        return True
    exact = values[:-1] if last_sign == "~" else values
    try:
        return all(agree(value, exact[0]) for value in exact[1:])
    except (UnreadableError, ValueError):
        return False


def alternatives(node: Node) -> tuple[Node, ...]:
    """The formulas that one with ± stands for: all upper signs, all lower signs."""
    if not _has_signs(node):
        return (node,)
    return _signed(node, upper=True), _signed(node, upper=False)


def _has_signs(node: Node) -> bool:
    return (isinstance(node, Apply) and node.name in ("±", "∓")) or any(map(_has_signs, children(node)))


def _signed(node: Node, *, upper: bool) -> Node:
    match node:
        case Apply(name=name, arguments=arguments):
            name = {"±": "+" if upper else "-", "∓": "-" if upper else "+"}.get(name, name)
            return Apply(name, tuple(_signed(item, upper=upper) for item in arguments))
        case Group(kind=kind, items=items):
            return Group(kind, tuple(_signed(item, upper=upper) for item in items))
        case Relation(signs=signs, sides=sides):
            return Relation(signs, tuple(_signed(side, upper=upper) for side in sides))
    return node


def matrix_of(node: Node) -> Matrix | None:
    """A matrix, also one that is written as a list of lists."""
    if isinstance(node, Matrix):
        return node
    if not isinstance(node, Group) or node.kind != "[]":
        return None
    rows = [row.items for row in node.items if isinstance(row, Group) and row.kind == "[]"]
    if len(rows) != len(node.items) or not rows or len(set(map(len, rows))) != 1:
        return None
    return Matrix(tuple(rows))


@dataclass(frozen=True)
class Interval:
    """A part of the real line."""

    low: Node
    high: Node
    low_open: bool
    high_open: bool


def region_of(node: Node) -> list[Interval] | None:
    """The part of the real line that an interval, a union or conditions on one variable are; None for anything else."""
    match node:
        case Constant(name="reals"):
            return [_interval(MINUS_INFINITY, INFINITY, "()")]
        case Constant(name="empty"):
            return []
        case Group(kind="()" | "[]" | "(]" | "[)" as kind, items=(low, high)):
            return [_interval(low, high, kind)]
        case Group(kind="{}", items=items) if items:
            return [_interval(item, item, "[]") for item in items]
        case Apply(name="union", arguments=parts):
            return _joined(parts)
        case Group(kind="or" | "list", items=parts) if all(map(_has_relations, parts)):
            return _joined(parts)
        case Group(kind="and", items=parts) if all(isinstance(part, Relation) for part in parts):
            return _between([bound for part in parts for bound in _bounds(part)])
        case Relation():
            return _between(_bounds(node))
    return None


def _has_relations(node: Node) -> bool:
    return isinstance(node, Relation) or (isinstance(node, Group) and any(map(_has_relations, node.items)))


def _interval(low: Node, high: Node, kind: str) -> Interval:
    return Interval(low, high, kind[0] == "(" or _is_infinite(low), kind[1] == ")" or _is_infinite(high))


def _is_infinite(node: Node) -> bool:
    return node in (INFINITY, MINUS_INFINITY) or (
        isinstance(node, Apply) and node.name == "+" and INFINITY in node.arguments
    )


def _joined(parts: tuple[Node, ...]) -> list[Interval] | None:
    regions = [[_interval(part, part, "[]")] if _is_point(part) else region_of(part) for part in parts]
    names = set().union(*(symbols_of(part) for part in parts if _has_relations(part)))
    if len(names) > 1 or any(region is None for region in regions):
        return None
    return [interval for region in regions if region is not None for interval in region]


def _is_point(node: Node) -> bool:
    return isinstance(node, Number) or (isinstance(node, Apply) and node.name != "union" and not symbols_of(node))


Bound = tuple[str, str, Node]
"""A variable, a sign and a value: the variable is beyond or below it."""


def _bounds(relation: Node) -> list[Bound]:
    """The bounds that a chain of inequalities sets to single variables; a bound without a name is no such bound."""
    if not isinstance(relation, Relation):
        return [("", "", relation)]
    found: list[Bound] = []
    for left, sign, right in zip(relation.sides, relation.signs, relation.sides[1:], strict=False):
        if sign in ("<", "<=", ">", ">=") and isinstance(left, Symbol) and not symbols_of(right):
            found.append((left.name, sign, right))
        elif sign in ("<", "<=", ">", ">=") and isinstance(right, Symbol) and not symbols_of(left):
            found.append((right.name, _FLIPPED[sign], left))
        else:
            found.append(("", "", relation))
    return found


def _between(bounds: list[Bound]) -> list[Interval] | None:
    """The interval between at most one lower and one upper bound of the same variable."""
    if len({name for name, _, _ in bounds}) != 1 or not bounds[0][0]:
        return None
    lows = [(value, sign == ">") for _, sign, value in bounds if sign in (">", ">=")]
    highs = [(value, sign == "<") for _, sign, value in bounds if sign in ("<", "<=")]
    if len(lows) > 1 or len(highs) > 1:
        return None
    low, low_open = lows[0] if lows else (MINUS_INFINITY, True)
    high, high_open = highs[0] if highs else (INFINITY, True)
    return [Interval(low, high, low_open or _is_infinite(low), high_open or _is_infinite(high))]


def conditions_of(node: Node) -> list[tuple[str, Node]] | None:
    """Relations that all hold, each as a sign and the difference that it says to be positive, zero or not zero."""
    match node:
        case Relation(signs=signs, sides=sides) if not set(signs) & {"in", "~"}:
            found: list[tuple[str, Node]] = []
            for left, sign, right in zip(sides, signs, sides[1:], strict=False):
                first, second = (right, left) if sign in ("<", "<=") else (left, right)
                found.append((_FLIPPED[sign] if sign in ("<", "<=") else sign, Apply("-", (first, second))))
            return found
        case Group(kind="and" | "list" | "{}", items=items):
            parts = [conditions_of(item) for item in items]
            return None if any(part is None for part in parts) else [pair for part in parts if part for pair in part]
    return None


ZERO = Number(Fraction(0))
