"""Pydantic's complaints about a value in the words of those who wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


class Misfit(NamedTuple):
    """What does not fit a type."""

    place: str
    """Dotted, e.g. `tools.0` for the first of a list."""
    value: Any
    wanted: str
    """To follow "has to be", e.g. `a whole number or 'auto'`; empty if something is missing there."""


def misfit(name: str, value: object, error: ValidationError) -> Misfit:
    """The first part of a value that does not fit, and all that it might have been.

    Args:
        name: of the value.
        value: what was validated.
        error: how that ended.
    """
    problems = [(_path(value, problem["loc"]), problem) for problem in error.errors(include_url=False)]
    path, first = max(problems, key=lambda pair: len(pair[0]))  # the closest; of these the first
    if first["type"] == "missing":
        return Misfit(".".join((name, *path, str(first["loc"][-1]))), None, "")
    wanted = dict.fromkeys(_wanted(problem) for other, problem in problems if other == path)
    return Misfit(".".join((name, *path)), first["input"], " or ".join(wanted))


def _path(value: Any, location: Sequence[int | str]) -> tuple[str, ...]:
    """The keys and numbers of a location that are in the value; pydantic adds the names of types."""
    path: list[str] = []
    for step in location:
        try:
            value = value[step]
        except (LookupError, TypeError):
            continue
        path.append(str(step))
    return tuple(path)


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "none": "null",
}
"""By the beginning of the name that pydantic gives an error."""


def _wanted(problem: ErrorDetails) -> str:
    kind, limits = problem["type"], problem.get("ctx", {})
    for name, words in (
        ("greater_than_equal", "at least"),
        ("less_than_equal", "at most"),
        ("greater_than", "more than"),
        ("less_than", "less than"),
    ):
        if kind == name:
            [limit] = limits.values()
            return f"{words} {limit:,.12g}"
    if kind in ("literal_error", "enum"):
        return str(limits["expected"])
    known = next((words for name, words in _KINDS.items() if kind.startswith(name)), "")
    return known or problem["msg"].removeprefix("Input ").removeprefix("Value ").removeprefix("should be ")
