"""Records as lines of JSON in files that other hands may have touched: whole lines, and fields of the right types.

A writer that is killed leaves part of a line at the end. Editors and scripts leave out the end of the last line, add a
byte order mark, end lines as Windows does, and write fields of other types.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from graph.errors import DataError
from graph.misfits import misfit


def real_path(path: Path) -> Path:
    """The path without links. `Path.resolve` has no patience with links that lead in a circle."""
    return Path(os.path.realpath(path))


def lines_of(data: bytes) -> tuple[list[str], bytes]:
    """The lines of a file, and what is left of one that was not written to its end.

    A last line without its end counts as one if it is a whole object.
    """
    whole, _, rest = data.rpartition(b"\n")
    if is_object(rest):
        whole, rest = data, b""
    return whole.decode("utf-8-sig", errors="replace").split("\n"), rest


def make_room(path: Path) -> bool:
    """Lets further lines follow those of a file; says whether part of a line had to be cut off.

    Raises:
        OSError: the file cannot be written.
    """
    data = path.read_bytes()
    _, rest = lines_of(data)
    if rest:
        os.truncate(path, len(data) - len(rest))
    elif data and not data.endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")
    return bool(rest)


def is_object(line: bytes) -> bool:
    """Whether a line without its end is whole."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def read_object(line: str) -> dict[str, Any]:
    """The object of a line.

    Raises:
        DataError: it holds none; the message is part of a sentence.
    """
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"it is not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError):
        raise DataError("it is not JSON that can be read") from None
    if not isinstance(value, dict):
        raise DataError("it is no JSON object")
    return value


@dataclass(frozen=True)
class Fields:
    """The types of a record's fields.

    Args:
        kind: A dataclass.
        closer: Types that say more than the class does, by field.
    """

    kind: type
    closer: Mapping[str, Any] = field(default_factory=dict)

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuses values that are of other types, or lack a field.

        Raises:
            DataError: the message is part of a sentence.
        """
        for name, adapter in self._adapters.items():
            if name not in values:
                if name in self._required:
                    raise DataError(f"its `{name}` is missing")
                continue
            try:
                adapter.validate_python(values[name], strict=True)
            except ValidationError as error:
                place, value, wanted = misfit(name, values[name], error)
                if not wanted:
                    raise DataError(f"its `{place}` is missing") from None
                raise DataError(f"its `{place}` is {_shown(value)}, which has to be {wanted}") from None

    @cached_property
    def _adapters(self) -> dict[str, TypeAdapter[Any]]:
        hints = {**get_type_hints(self.kind, include_extras=True), **self.closer}
        return {item.name: TypeAdapter(hints[item.name]) for item in fields(self.kind)}

    @cached_property
    def _required(self) -> set[str]:
        return {item.name for item in fields(self.kind) if item.default is MISSING and item.default_factory is MISSING}


def _shown(value: object) -> str:
    """A value in a message, in the terms of its file."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
