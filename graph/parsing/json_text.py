"""JSON values in a text, written as models write them.

Python's literals, single and curly quotes, bare keys, comments, trailing commas and raw line breaks in strings are
read, since they leave no doubt. What was cut off is not: neither completed nor read from the inside, because a part of
a list of calls is not what was decided.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graph.parsing.blocks import syntax_of
from tools.text import well_formed_value

_STARTS = re.compile(r"[{\[]")
_CURLY_QUOTES = str.maketrans("“”„‟", '""""')
_OPENS_JSON = re.compile(r"""\{\s*(?:["'}]|//|/\*|\#|\w+\s*:)|\[\s*(?:[{\["'\]\d-]|//|/\*)""")
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<comment>//[^\n]*|\#[^\n]*|/\*.*?\*/)
      | (?P<trailing>,(?=(?:\s|//[^\n]*|\#[^\n]*|/\*.*?\*/)*+[}\]]))
      | (?P<word>-?[A-Za-z_]\w*)
      | (?P<open>[{\[(])
      | (?P<close>[}\])])
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"true": "True", "false": "False", "null": "None", "undefined": "None", "NaN": "None", "nan": "None",
          "Infinity": "None", "-Infinity": "None", "None": "None", "True": "True", "False": "False"}  # fmt: skip
"""JSON has no number that is none; schemas say what they take instead of it."""
_MOST_STARTS = 500
"""Brackets of a text at which a value is looked for."""


@dataclass(frozen=True)
class JsonPart:
    """A JSON object or array in a text."""

    value: dict[str, Any] | list[Any]
    start: int
    end: int


def json_values(text: str) -> list[JsonPart]:
    """The outermost JSON objects and arrays of a text, in order; their texts are well formed."""
    parts: list[JsonPart] = []
    position = 0
    for _ in range(_MOST_STARTS):
        start = _STARTS.search(text, position)
        if start is None:
            break
        part = _part_at(text, start.start())
        if part is not None:
            parts.append(part)
            position = part.end
        elif _is_cut_off(text, start.start()):
            position = _next_outer_line(text, start.start())
        else:
            position = start.end()
    if not parts and text.lstrip().startswith('"') and isinstance(inner := _json_string(text), str):
        return json_values(inner)  # JSON inside a JSON string
    return parts


def find_json(text: str) -> dict[str, Any] | None:
    """The first JSON object of a text that is not empty, or None."""
    return next((part.value for part in json_values(text) if isinstance(part.value, dict) and part.value), None)


def loads(text: str) -> Any:
    """The JSON value that a text is, as models write them.

    Raises:
        ValueError: it is none.
    """
    try:
        return well_formed_value(json.loads(text, strict=False, parse_constant=lambda _: None))
    except ValueError:
        return _from_literal(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


_decoder = json.JSONDecoder(strict=False, parse_constant=lambda _: None)


def _part_at(text: str, start: int) -> JsonPart | None:
    try:
        value, end = _decoder.raw_decode(text, start)
        return JsonPart(well_formed_value(value), start, end)
    except json.JSONDecodeError:
        pass
    except (RecursionError, ValueError):
        return None
    for variant in dict.fromkeys((text, text.translate(_CURLY_QUOTES))):
        length = _length(variant, start) if _OPENS_JSON.match(variant, start) else None
        if length is None:
            continue
        try:
            value = _from_literal(variant[start : start + length])
        except ValueError:
            continue
        if isinstance(value, dict | list):
            return JsonPart(value, start, start + length)
    return None


def _is_cut_off(text: str, start: int) -> bool:
    return _OPENS_JSON.match(text, start) is not None and _length(text, start) is None


def _length(text: str, start: int) -> int | None:
    """How far the brackets that open at `start` reach; None if they do not close."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        depth += (token.lastgroup == "open") - (token.lastgroup == "close")
        if depth == 0:
            return token.end() - start
    return None


def _json_string(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _from_literal(text: str) -> Any:
    """A value in the notation of JSON, Python or JavaScript."""
    try:
        value = ast.literal_eval(syntax_of("".join(_python_tokens(text)).strip(), mode="eval"))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError("not JSON") from None
    return well_formed_value(_checked(value))


def _python_tokens(text: str) -> Iterator[str]:
    tokens = [token for token in _TOKEN.finditer(text) if token.lastgroup not in ("comment", "trailing")]
    is_key = False  # whether the token to the right, blanks aside, is a colon
    result: list[str] = []
    for token in reversed(tokens):
        written = token[0]
        if written.isspace():
            result.append(" ")
            continue
        if token.lastgroup == "string":
            result.append(_string(written))
        elif token.lastgroup == "word":
            result.append(repr(written) if is_key else _WORDS.get(written, written))
        else:
            result.append(written)
        is_key = written == ":"
    return reversed(result)


def _string(written: str) -> str:
    if written[0] == '"':
        try:
            return repr(json.loads(written, strict=False))
        except ValueError:
            pass  # an escape of Python's
    return written.replace("\n", "\\n")


def _checked(value: Any) -> Any:
    """The value, if JSON could hold it.

    Raises:
        ValueError: it could not.
    """
    if isinstance(value, dict):
        return {str(key): _checked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_checked(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError("not JSON")


def _next_outer_line(text: str, start: int) -> int:
    """Where to look on after a value that was cut off: at a line that begins one of its own, no deeper than that."""
    line = text.rfind("\n", 0, start) + 1
    indentation = len(text[line:start]) - len(text[line:start].lstrip())
    for match in re.finditer(r"\n([ \t]*)(?=[{\[`<])", text[start:]):
        if len(match[1]) <= indentation:
            return start + match.end()
    return len(text)
