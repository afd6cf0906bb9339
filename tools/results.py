"""What a tool returns, as text that a model can read.

Text stays as it is. Values become JSON, and so do objects that are records (dataclasses, pydantic models, named
tuples): never their `repr`. Tables become CSV. What is no text (pictures, binary data) is named, so that its absence
is no riddle. Whatever comes, there is a text: a value that refers to itself, has no end or fails to show itself is cut
or named as well.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections import UserString
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized, ValuesView
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any, TypeAlias
from uuid import UUID

from langchain_core.messages import BaseMessage
from pydantic import BaseModel

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"

MOST_VALUES = 20_000
"""Values inside one result; of more, nobody would read the last."""
MOST_PARTS = MOST_VALUES // 2
"""Values that an iterator is asked for."""
MORE = "[… what comes after is left out]"
DEEPEST = 50
"""Levels of nesting that are shown."""

_SHOWN_AS_TEXT = (Decimal, Fraction, complex, UUID, PurePath, date, datetime, time, timedelta)
_MEDIA = frozenset(
    ("image", "image_url", "input_image", "audio", "input_audio", "video", "file", "input_file", "media")
)
"""Types of content blocks that hold no text."""
_LINK_KEYS = frozenset(("type", "url", "id", "index", "mime_type", "extras", "source_type"))
"""All that a block has which names its data by an address; a record of a file has more to tell."""
_KINDS = {b"\x89PNG": "PNG image", b"\xff\xd8\xff": "JPEG image", b"GIF8": "GIF image", b"%PDF": "PDF file"}
"""What binary data begins with."""


def as_text(value: Any) -> str:
    """The text of a tool's result; empty for None.

    Args:
        value: Anything. An iterator is read, up to `MOST_VALUES` values, and may raise what it likes.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, BaseMessage):
        return as_text(value.content)
    if isinstance(value, Iterator):
        value = first_of(value)
    if isinstance(value, list | tuple) and _is_content(value):
        return "\n".join(map(_block_text, value))
    if (table := _table(value)) is not None:
        return table
    plain = _Plainly().of(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def first_of(values: Iterator[Any]) -> list[Any]:
    """What an iterator brings, and a word about the rest where it brings more than can be shown."""
    parts = list(itertools.islice(values, MOST_PARTS))
    return [*parts, MORE] if len(parts) == MOST_PARTS else parts


def shown(value: object) -> str:
    """`str(value)`, also where that fails."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - somebody's __str__
        return f"[object of the class {type(value).__name__}, which cannot be shown: {type(error).__name__}]"


def _is_content(parts: Sequence[Any]) -> bool:
    """Whether a list is the content of a message: texts and blocks, with one block at least."""
    return any(map(_is_block, parts)) and all(isinstance(part, str) or _is_block(part) for part in parts)


def _is_block(part: Any) -> bool:
    """Whether a part of a list is a block of a message's content, as models are sent them, and no record."""
    if isinstance(part, BaseMessage):
        return True
    if not isinstance(part, Mapping):
        return False
    kind = part.get("type")
    if kind == "text":
        return isinstance(part.get("text"), str)
    return (
        isinstance(kind, str)
        and kind in _MEDIA
        and (
            isinstance(part.get("base64") or part.get("image_url") or part.get("file_data"), str)
            or any(isinstance(part.get(key), Mapping) for key in ("image_url", "input_audio", "source", "file"))
            or (isinstance(part.get("data"), str) and _media_type(part) is not None)
            or (isinstance(part.get("url"), str) and part.keys() <= _LINK_KEYS)
        )
    )


def _block_text(part: Any) -> str:
    if isinstance(part, str | BaseMessage):
        return as_text(part)
    if part["type"] == "text":
        return str(part["text"])
    kind = str(part["type"]).removeprefix("input_").removesuffix("_url")
    place = f" at {part['url']}" if isinstance(part.get("url"), str) and not part["url"].startswith("data:") else ""
    return f"[{kind}{f' ({media_type})' if (media_type := _media_type(part)) else ''}{place}, not shown]"


def _media_type(part: Mapping[Any, Any]) -> str | None:
    kinds = (part.get(key) for key in ("mime_type", "mimeType", "media_type"))
    return next((kind for kind in kinds if isinstance(kind, str)), None)


def _table(value: Any) -> str | None:
    """A data frame or series as CSV, whole, or None for anything else."""
    kind = type(value).__module__.partition(".")[0]
    try:
        if kind == "pandas" and hasattr(value, "to_csv"):
            index = type(value.index).__name__ != "RangeIndex"
            return str(value.head(MOST_VALUES).to_csv(index=index)).rstrip("\n")
        if kind == "polars" and hasattr(value, "write_csv"):
            return str(value.head(MOST_VALUES).write_csv()).rstrip("\n")
    except Exception:  # noqa: BLE001 - cells that cannot be written: the table shows itself then
        return shown(value)
    return None


class _Plainly:
    """One walk through a value that makes plain JSON values of it."""

    def __init__(self) -> None:
        self._left = MOST_VALUES
        self._open: set[int] = set()
        """Identities of what is being walked through: who meets one of them again is inside it."""

    def of(self, value: Any) -> Plain:
        """The value in plain terms."""
        self._left -= 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return self.of(value.value)
        if isinstance(value, str | UserString):
            return str(value)
        if isinstance(value, int):
            return int(value) if value.bit_length() < 10_000 else _digits(value)
        if isinstance(value, float):
            return float(value)
        if isinstance(value, _SHOWN_AS_TEXT):
            return value.isoformat() if isinstance(value, date | time) else str(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return _bytes_text(bytes(value))
        if isinstance(value, type | BaseException):
            return value.__name__ if isinstance(value, type) else error_text(value)
        if id(value) in self._open:
            return f"[the same {type(value).__name__} again]"
        if len(self._open) >= DEEPEST:
            return f"[{type(value).__name__}, nested too deep to be shown]"
        self._open.add(id(value))
        try:
            return self._inside(value)
        except Exception as error:  # noqa: BLE001 - properties and iterators are somebody's code
            return f"[object of the class {type(value).__name__}, which cannot be shown: {error_text(error)}]"
        finally:
            self._open.discard(id(value))

    def _inside(self, value: Any) -> Plain:
        """What a value with parts consists of."""
        if isinstance(value, BaseModel):
            return self.of(_dumped(value))
        if dataclasses.is_dataclass(value):  # what its author keeps out of its `repr` is not for showing
            names = [field.name for field in dataclasses.fields(value) if field.repr]
            return self._fields({name: getattr(value, name) for name in names})
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return self._fields(value._asdict())
        if isinstance(value, Mapping):
            return self._fields(value)
        if isinstance(value, Set):
            return self._list(_ordered(value))
        if (known := self._foreign(value)) is not None:
            return known
        if isinstance(value, Sequence | ValuesView | Iterator):
            return self._list(value)
        return self._object(value)

    def _fields(self, fields: Mapping[Any, Any]) -> Plain:
        made: dict[str, Plain] = {}
        pairs: list[Plain] = []
        for key, part in fields.items():
            if self._left <= 0:
                made["[…]"] = f"{len(fields) - len(pairs):,} more left out"
                break
            plain_key, plain = self.of(key), self.of(part)
            pairs.append([plain_key, plain])
            made[_key(plain_key)] = plain
        return made if len(made) >= len(pairs) else pairs  # keys that read alike must not hide each other

    def _list(self, values: Iterable[Any]) -> Plain:
        made: list[Plain] = []
        for part in values:
            if self._left <= 0:
                made.append(f"[… {len(values) - len(made):,} more left out]" if isinstance(values, Sized) else MORE)
                break
            made.append(self.of(part))
        return made

    def _foreign(self, value: Any) -> Plain:
        """Values of libraries that are not imported for this: arrays, tables, pictures; None for anything else."""
        kind = type(value).__module__.partition(".")[0]
        if kind == "pandas" and hasattr(value, "to_dict"):
            return self.of(value.to_dict("records") if hasattr(value, "columns") else value.to_dict())
        if kind == "polars" and hasattr(value, "to_dicts"):
            return self.of(value.to_dicts())
        if kind == "PIL" and hasattr(value, "tobytes"):
            width, height = value.size
            return f"[image of {width} x {height} pixels, not shown]"
        if hasattr(value, "dtype") and hasattr(value, "tolist"):
            size = math.prod(getattr(value, "shape", ()))
            if getattr(value.dtype, "kind", None) in ("m", "M"):  # dates and spans of time
                value = value.astype(str)
            if size > self._left:
                return f"[an array of the shape {tuple(value.shape)}, too large to be shown] {shown(value)}"
            return self.of(value.item() if size == 1 and not value.shape else value.tolist())
        if hasattr(type(value), "__fields__") and hasattr(value, "dict"):  # a model of pydantic's first version
            return self.of(value.dict())
        return None

    def _object(self, value: Any) -> Plain:
        """An object of a class of its own: in its own words, or by its attributes if it has none."""
        cls = type(value)
        names: Iterable[str] = [getattr(field, "name", "") for field in getattr(cls, "__attrs_attrs__", ())]
        names = names or list(getattr(cls, "__struct_fields__", ()))
        speaks = any("__str__" in base.__dict__ or "__repr__" in base.__dict__ for base in cls.__mro__[:-1])
        if not names and (not speaks or cls.__name__ == "SimpleNamespace"):
            names = [name for name in getattr(value, "__dict__", {}) if not name.startswith("_")]
        if names:
            return self._fields({name: getattr(value, name) for name in names})
        return shown(value) if speaks else f"[object of the class {cls.__name__}]"


def _key(plain: Plain) -> str:
    if isinstance(plain, str):
        return plain
    if isinstance(plain, list):
        return ", ".join(map(_key, plain))
    return json.dumps(plain, ensure_ascii=False)


def _digits(value: int) -> str:
    """An integer that Python does not write out for fear of the time it takes."""
    try:
        return str(int(value))
    except ValueError:
        return f"[a whole number of about {int(value.bit_length() * math.log10(2)):,} digits]"


def _dumped(model: BaseModel) -> Mapping[Any, Any]:
    """A model's own idea of its fields: what it hides stays hidden, what it names otherwise is named so."""
    try:
        return model.model_dump(mode="json", by_alias=True)
    except Exception:  # noqa: BLE001 - a field that pydantic cannot write
        return {name: getattr(model, name) for name in type(model).model_fields if not _is_hidden(model, name)}


def _is_hidden(model: BaseModel, name: str) -> bool:
    return bool(type(model).model_fields[name].exclude)


def _ordered(values: Set[Any]) -> list[Any]:
    """A set in an order that is the same in every process."""
    parts = list(itertools.islice(values, MOST_VALUES + 1))
    try:
        return sorted(parts)
    except TypeError:
        return sorted(parts, key=shown)


def text_of_bytes(data: bytes) -> str | None:
    """The text that bytes hold, a few bytes that are no UTF-8 replaced; None for what is no text."""
    text = data.decode("utf-8", "replace")
    is_text = "\0" not in text and text.count("\ufffd") <= len(text) // 4
    return text if is_text and not any(map(data.startswith, _KINDS)) else None


def _bytes_text(data: bytes) -> str:
    text = text_of_bytes(data)
    if text is not None:
        return text
    what = next((name for mark, name in _KINDS.items() if data.startswith(mark)), "binary data")
    return f"[{what} of {len(data):,} bytes, not shown]"


def error_text(error: BaseException) -> str:
    """An exception as one line: its type and what it says; of a group, the first real one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    name, words = type(error).__name__, shown(error).strip()
    return f"{name}: {words}" if words else name
