"""The literals of a Python program, and what each of them is used for."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal as OneOf

from graph.checks.customary import is_table
from graph.rendering import brief

Use = OneOf["data", "choice", "bound", "label"]
"""`data` enters the computation or the answer; a `choice` is what a condition picks; a `bound` ends a search; a `label`
stands beside a printed value."""


@dataclass(frozen=True)
class Literal:
    """A number or a text of a program."""

    value: Decimal | str
    """A number without its sign."""
    name: str
    """The variable, parameter or key that it is given to; empty if there is none."""
    use: Use

    def __str__(self) -> str:
        shown = brief(repr(self.value) if isinstance(self.value, str) else f"{self.value:f}")
        return f"{brief(self.name)} = {shown}" if self.name else shown


def literals_of(code: str) -> list[Literal]:
    """The literals of a program, in order; none if it cannot be parsed (the interpreter explains it better)."""
    try:
        tree = ast.parse(code)
        return list(_Reader().read(tree, Literal("", "", "data")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


_SETTINGS = {"prec", "dps", "seed", "Random", "setrecursionlimit", "set_printoptions"}
"""Attributes and functions whose numbers set up the interpreter."""
_OUTPUT = {"print", "join"}


class _Reader:
    """Walks a tree; `place` says what a literal found there would be."""

    def read(self, node: ast.AST, place: Literal) -> Iterator[Literal]:
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is not None:
            yield from method(node, place)
        else:
            yield from self._children(node, place)

    def _children(self, node: ast.AST, place: Literal) -> Iterator[Literal]:
        for child in ast.iter_child_nodes(node):
            yield from self.read(child, place)

    def _all(self, nodes: Sequence[ast.AST], place: Literal) -> Iterator[Literal]:
        for node in nodes:
            yield from self.read(node, place)

    def _constant(self, node: ast.Constant, place: Literal) -> Iterator[Literal]:
        value = node.value
        if isinstance(value, str):
            yield replace(place, value=value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield replace(place, value=abs(Decimal(value) if isinstance(value, int) else Decimal(repr(value))))

    def _module(self, node: ast.Module, place: Literal) -> Iterator[Literal]:
        yield from self._all(_without_docstring(node), place)

    def _functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef, place: Literal) -> Iterator[Literal]:
        yield from self.read(node.args, place)
        yield from self._all(_without_docstring(node), replace(place, use="choice"))

    _asyncfunctiondef = _functiondef

    def _classdef(self, node: ast.ClassDef, place: Literal) -> Iterator[Literal]:
        yield from self._all(_without_docstring(node), place)

    def _arguments(self, node: ast.arguments, place: Literal) -> Iterator[Literal]:
        named = [*node.posonlyargs, *node.args]
        pairs = list(zip(named[len(named) - len(node.defaults) :], node.defaults, strict=True))
        pairs += [(name, value) for name, value in zip(node.kwonlyargs, node.kw_defaults, strict=True) if value]
        for name, value in pairs:
            yield from self.read(value, Literal("", name.arg, "data"))

    def _assign(self, node: ast.Assign, place: Literal) -> Iterator[Literal]:
        target = node.targets[0]
        if isinstance(target, ast.Attribute) and target.attr in _SETTINGS:
            return
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for one, value in zip(target.elts, node.value.elts, strict=False):
                yield from self.read(value, Literal("", _name(one), "data"))
        else:
            yield from self.read(node.value, Literal("", _name(target), "data"))

    def _augassign(self, node: ast.AugAssign, place: Literal) -> Iterator[Literal]:
        yield from self.read(node.value, Literal("", _name(node.target), "data"))

    def _annassign(self, node: ast.AnnAssign, place: Literal) -> Iterator[Literal]:
        if node.value is not None:
            yield from self.read(node.value, Literal("", _name(node.target), "data"))

    def _namedexpr(self, node: ast.NamedExpr, place: Literal) -> Iterator[Literal]:
        yield from self.read(node.value, Literal("", node.target.id, "data"))

    def _dict(self, node: ast.Dict, place: Literal) -> Iterator[Literal]:
        entries: list[tuple[ast.expr | None, list[Literal]]] = []
        for key, value in zip(node.keys, node.values, strict=True):
            named = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else place.name
            entries.append((key, list(self.read(value, Literal("", named, "data")))))
        table = is_table(_numbers(literal for _, inside in entries for literal in inside))
        for key, inside in entries:
            if key is not None:
                yield from self.read(key, replace(place, use="data"))
            yield from (literal for literal in inside if not (table and isinstance(literal.value, Decimal)))

    def _list(self, node: ast.List | ast.Tuple | ast.Set, place: Literal) -> Iterator[Literal]:
        inside = list(self._all(node.elts, replace(place, use="data")))
        if not is_table(_numbers(inside)):
            yield from inside

    _tuple = _set = _list

    def _ifexp(self, node: ast.IfExp, place: Literal) -> Iterator[Literal]:
        yield from self.read(node.test, Literal("", "", "data"))
        yield from self._all([node.body, node.orelse], replace(place, use="choice"))

    def _if(self, node: ast.If, place: Literal) -> Iterator[Literal]:
        yield from self.read(node.test, Literal("", "", "data"))
        yield from self._all([*node.body, *node.orelse], replace(place, use="choice"))

    def _while(self, node: ast.While, place: Literal) -> Iterator[Literal]:
        yield from self.read(node.test, Literal("", "", "bound"))
        yield from self._all([*node.body, *node.orelse], place)

    def _call(self, node: ast.Call, place: Literal) -> Iterator[Literal]:
        name = _name(node.func)
        if isinstance(node.func, ast.Attribute):
            yield from self.read(node.func.value, place)
        if name in _SETTINGS:
            return
        if name in _OUTPUT and len(node.args) > 1:
            inside = replace(place, use="label")
        elif name == "range":
            inside = replace(place, use="bound")
        else:
            inside = place if name in _OUTPUT else replace(place, use="data")
        for argument in node.args:
            yield from self.read(argument, inside)
        for keyword in node.keywords:
            yield from self.read(keyword.value, replace(inside, name=keyword.arg or ""))

    def _joinedstr(self, node: ast.JoinedStr, place: Literal) -> Iterator[Literal]:
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from self.read(part.value, replace(place, use="data"))
            else:
                yield from self.read(part, place if len(node.values) == 1 else replace(place, use="label"))


def _numbers(literals: Iterable[Literal]) -> frozenset[Decimal]:
    return frozenset(literal.value for literal in literals if isinstance(literal.value, Decimal))


def _without_docstring(
    node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
) -> list[ast.stmt]:
    return node.body[1:] if len(node.body) > 1 and ast.get_docstring(node, clean=False) is not None else node.body


def _name(target: ast.AST) -> str:
    match target:
        case ast.Name():
            return target.id
        case ast.Attribute():
            return target.attr
        case ast.Subscript():
            return _name(target.value)
        case ast.Tuple() | ast.List():
            return ", ".join(filter(None, map(_name, target.elts)))
    return ""
