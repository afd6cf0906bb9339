"""Reads JSON from files that may be damaged, and writes valid JSON.

`orjson` is fast and strict; what it rejects (lone surrogates, NaN, a byte order mark) is parsed by `json`. Output is
always valid JSON in valid UTF-8: numbers that are not finite become null, lone surrogates become question marks.
"""

from __future__ import annotations

import json
import math
from typing import Any

import orjson


def read(data: bytes) -> Any:
    """Parse a JSON document.

    Raises:
        ValueError: it is invalid.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data.decode("utf-8-sig", errors="replace"))
        except RecursionError:
            raise ValueError("nested too deeply") from None


def write(value: Any) -> bytes:
    """A JSON document in UTF-8."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, orjson.JSONEncodeError):
        return json.dumps(_finite(value), ensure_ascii=False, default=str).encode("utf-8", errors="replace")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty object."""
    return value if isinstance(value, dict) else {}


def listing(value: Any) -> list[Any]:
    """The value if it is a list, else an empty list."""
    return value if isinstance(value, list) else []


def number(value: Any) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def text(value: Any) -> str:
    """The value as text: a string as it is, other values as JSON, None as empty."""
    if value is None or isinstance(value, str):
        return value or ""
    return write(value).decode("utf-8")
