"""The nodes of a formula that has been read."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


class UnreadableError(ValueError):
    """A text is no formula, or no value can be found for it; the message says why, as the end of a sentence."""


@dataclass(frozen=True)
class Number:
    """An exact rational number; decimals are exact as well."""

    value: Fraction


@dataclass(frozen=True)
class Symbol:
    """A variable, or a name that stands for a thing (`vec a`, `angle ABC`)."""

    name: str


@dataclass(frozen=True)
class Constant:
    """A number with a name: `pi`, `e`, `i`, `oo`, `EulerGamma`, `GoldenRatio`, `Catalan`, or a truth value or set."""

    name: str


@dataclass(frozen=True)
class Apply:
    """A function or an operator and its arguments; names are those of `names.FUNCTIONS` and of `values.OPERATORS`."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Group:
    """Several things, or one in brackets.

    The kind is the brackets ("()", "[]", "[)", "(]", "{}", "<>") or what joins the items: "list" for commas, "or",
    "and", "ratio" for colons.
    """

    kind: str
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Relation:
    """A chain of sides with a sign between each two: `=`, `<`, `<=`, `>`, `>=`, `!=`, `~` (about), `in`."""

    signs: tuple[str, ...]
    sides: tuple[Node, ...]


@dataclass(frozen=True)
class Matrix:
    """Rows of equal length."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True)
class Pieces:
    """A value by cases: the first branch whose condition holds; None is "otherwise"."""

    branches: tuple[tuple[Node, Node | None], ...]


Node = Number | Symbol | Constant | Apply | Group | Relation | Matrix | Pieces


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below one."""
    match node:
        case Apply(arguments=parts) | Group(items=parts) | Relation(sides=parts):
            return parts
        case Matrix(rows=rows):
            return tuple(entry for row in rows for entry in row)
        case Pieces(branches=branches):
            return tuple(part for branch in branches for part in branch if part is not None)
    return ()
