"""The header of a GGUF file: its metadata, and name, shape and place of each tensor.

The `gguf` package reads the same and takes seconds for a vocabulary of 150,000 words, which are only skipped here.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Scalar = str | int | float | bool

_STRING, _ARRAY = 8, 9
_CODES: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_SCALARS: Final = {kind: struct.Struct(f"<{code}") for kind, code in _CODES.items()}
"""Formats of the scalar types, by their numbers."""
_COUNT: Final = struct.Struct("<Q")
_ARRAY_HEAD: Final = struct.Struct("<IQ")
F32: Final = 0
"""Number of the tensor type that is never quantised."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a file."""

    shape: tuple[int, ...]
    """As llama.cpp counts: the row's length first."""
    kind: int
    offset: int
    """Its place in bytes, after the header."""


@dataclass(frozen=True)
class GGUFHeader:
    """What a file says about itself."""

    fields: dict[str, Scalar]
    """The metadata without its arrays."""
    tensors: dict[str, TensorInfo]
    data: int
    """Where the tensors begin, in bytes."""

    @property
    def architecture(self) -> str:
        """E.g. `qwen2`."""
        return str(self.fields.get("general.architecture", ""))

    def number(self, name: str) -> int | None:
        """A hyper-parameter of the architecture, e.g. `block_count`."""
        value = self.fields.get(f"{self.architecture}.{name}")
        return int(value) if isinstance(value, int) else None


def read_header(path: Path) -> GGUFHeader:
    """Read a file's header.

    Raises:
        ValueError: it is not a GGUF file, or is cut off.
        OSError: it cannot be read.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return _Reader(content).header()
        except (struct.error, KeyError, ArithmeticError, RecursionError) as error:
            raise ValueError(f"{path} is cut off or damaged") from error


class _Reader:
    """Reads a header from front to back."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._place = 0

    def header(self) -> GGUFHeader:
        """All that stands before the weights.

        Raises:
            ValueError: it is not a GGUF file, or of a version that is not known.
            struct.error: it is cut off.
        """
        if self._content[:4] != b"GGUF":
            raise ValueError("the file does not begin with GGUF")
        self._place = 4
        version, tensors, entries = self._take(_SCALARS[4]), self._take(_COUNT), self._take(_COUNT)
        if version not in (2, 3):
            raise ValueError(f"the file has the version {version}")
        fields: dict[str, Scalar] = {}
        for _ in range(int(entries)):
            name, value = self._string(), self._value(int(self._take(_SCALARS[4])))
            if value is not None:
                fields[name] = value
        found = dict(self._tensor() for _ in range(int(tensors)))
        alignment = int(fields.get("general.alignment", 32))
        return GGUFHeader(fields, found, self._place + -self._place % alignment)

    def _take(self, form: struct.Struct) -> Scalar:
        (value,) = form.unpack_from(self._content, self._place)
        self._place += form.size
        scalar: Scalar = value
        return scalar

    def _string(self) -> str:
        length = int(self._take(_COUNT))
        self._place += length
        return self._content[self._place - length : self._place].decode(errors="replace")

    def _value(self, kind: int) -> Scalar | None:
        """A value; None for an array, which is skipped."""
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._take(_SCALARS[kind])
        element, count = _ARRAY_HEAD.unpack_from(self._content, self._place)
        self._place += _ARRAY_HEAD.size
        if element in _SCALARS:
            self._place += _SCALARS[element].size * count
        else:
            self._skip(element, count)
        return None

    def _skip(self, element: int, count: int) -> None:
        """Skip an array of strings (a vocabulary has 150,000) or of arrays."""
        if element != _STRING:
            for _ in range(count):
                self._value(element)
            return
        content, place, length_at = self._content, self._place, _COUNT.unpack_from
        for _ in range(count):
            place += 8 + length_at(content, place)[0]
        self._place = place

    def _tensor(self) -> tuple[str, TensorInfo]:
        name = self._string()
        dimensions = int(self._take(_SCALARS[4]))
        shape = tuple(int(self._take(_COUNT)) for _ in range(dimensions))
        kind, offset = int(self._take(_SCALARS[4])), int(self._take(_COUNT))
        return name, TensorInfo(shape, kind, offset)
