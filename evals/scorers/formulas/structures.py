"""Matrices, definitions by cases, and the constructors that sympy prints."""

from __future__ import annotations

from collections.abc import Callable

from .cursor import Cursor
from .tree import Apply, Constant, Group, Matrix, Node, Pieces, Relation, UnreadableError

Entry = Callable[[], Node]

_RELATIONS = {"Eq": "=", "Ne": "!=", "Lt": "<", "Le": "<=", "Gt": ">", "Ge": ">="}
_INTERVALS = {"Interval": "[]", "Interval.open": "()", "Interval.Lopen": "(]", "Interval.Ropen": "[)"}


def built(name: str, arguments: tuple[Node, ...]) -> Node:
    """What a constructor of sympy's makes of its arguments.

    Raises:
        UnreadableError: it does not take such arguments.
    """
    if name in _RELATIONS and len(arguments) == 2:
        return Relation((_RELATIONS[name],), arguments)
    if name in _INTERVALS and len(arguments) == 2:
        return Group(_INTERVALS[name], arguments)
    maker = _MAKERS.get(name)
    if maker is None or not arguments:
        raise UnreadableError(f"gives {name!r} arguments that it does not take")
    return maker(arguments)


def matrix_of(arguments: tuple[Node, ...]) -> Node:
    """A matrix of nested lists; a flat list is a column."""
    if len(arguments) != 1 or not isinstance(arguments[0], Group):
        raise UnreadableError("has a matrix that is no list of rows")
    rows = [row.items if isinstance(row, Group) and row.kind == "[]" else (row,) for row in arguments[0].items]
    return matrix(tuple(rows))


def matrix(rows: tuple[tuple[Node, ...], ...]) -> Matrix:
    """A matrix, after its rows are found to be equally long."""
    if not rows or len({len(row) for row in rows}) != 1 or not rows[0]:
        raise UnreadableError("has a matrix with rows of different lengths")
    return Matrix(rows)


def _pieces(arguments: tuple[Node, ...]) -> Node:
    branches: list[tuple[Node, Node | None]] = []
    for branch in arguments:
        if not isinstance(branch, Group) or branch.kind != "()" or len(branch.items) != 2:
            raise UnreadableError("has a case that is no pair of a value and a condition")
        value, condition = branch.items
        branches.append((value, None if condition == Constant("true") else condition))
    return Pieces(tuple(branches))


def _single(arguments: tuple[Node, ...]) -> Node:
    if len(arguments) != 1:
        raise UnreadableError("gives one value as several")
    return arguments[0]


def _union(arguments: tuple[Node, ...]) -> Node:
    node = arguments[0]
    for argument in arguments[1:]:
        node = Apply("union", (node, argument))
    return node


_MAKERS: dict[str, Callable[[tuple[Node, ...]], Node]] = {
    **dict.fromkeys(("Matrix", "ImmutableMatrix", "MutableDenseMatrix", "ImmutableDenseMatrix"), matrix_of),
    "Piecewise": _pieces,
    "Union": _union,
    "FiniteSet": lambda arguments: Group("{}", arguments),
    "Tuple": lambda arguments: Group("()", arguments),
    "And": lambda arguments: Group("and", arguments),
    "Or": lambda arguments: Group("or", arguments),
    "Rational": lambda arguments: Apply("/", arguments) if len(arguments) == 2 else _single(arguments),
    "Integer": _single,
    "Float": _single,
    "Symbol": _single,
}


def laid_out(reader: Cursor, kind: str, entry: Entry) -> Node:
    """A matrix, a determinant or a definition by cases, whose `\\begin` has been passed.

    Args:
        reader: the place behind it.
        kind: what was begun.
        entry: reads one entry at that place.
    """
    rows: list[tuple[Node, ...]] = []
    while (row := _row(reader, kind, entry)) is not None:
        rows.append(row)
    end = reader.take()
    if end.kind != "end" or end.text != kind:
        raise UnreadableError(f"has {end.text!r} where a {kind} should end")
    if kind == "cases":
        return _cases(rows)
    found = matrix(tuple(rows))
    return Apply("det", (found,)) if kind == "determinant" else found


def _row(reader: Cursor, kind: str, entry: Entry) -> tuple[Node, ...] | None:
    """The entries up to `\\\\` or the end; None at the end."""
    entries: list[Node] = []
    while (token := reader.token()) is not None and token.kind != "end":
        if reader.accept("\\\\"):
            return tuple(entries)
        if entries:
            if kind == "cases":
                while reader.accept("&", ",", "if", ";"):
                    pass
            else:
                reader.expect("&")
        entries.append(Constant("true") if reader.accept("otherwise") else entry())
        if kind == "cases":
            reader.accept(",", ";", ".")
    return tuple(entries) if entries else None


def _cases(rows: list[tuple[Node, ...]]) -> Node:
    if any(len(row) != 2 for row in rows) or not rows:
        if all(len(row) == 1 and isinstance(row[0], Relation) for row in rows) and rows:
            return Group("and", tuple(row[0] for row in rows))
        raise UnreadableError("has a case that is no value with a condition")
    return Pieces(tuple((value, None if rule == Constant("true") else rule) for value, rule in rows))
