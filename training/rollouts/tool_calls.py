"""Tool calls in a text, whatever form they have: the forgiving second reading of a reply.

Models do not always keep the form that their template shows them: Qwen2.5-Coder writes fenced or bare JSON where
`<tool_call>` is asked for. So any JSON object that names a known tool, and holds arguments or nothing else, is a call.
What looks like a call and cannot be read stays in the text and is counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from training.rollouts.conversation import ToolCall

_NAMES = ("name", "tool", "tool_name", "function")
_ARGUMENTS = ("arguments", "parameters", "args", "input")
_BESIDES = frozenset({*_NAMES, *_ARGUMENTS, "id", "type", "index"})
"""Keys that a call may have."""

_OPENING = re.compile(r"(?:```[\w-]*|<\|?[\w:-]+\|?>|\[TOOL_CALLS\])\s*$")
_CLOSING = re.compile(r"\s*(?:```|</?\|?[\w:-]+\|?>)")
_START = re.compile(r'\{\s*"|\[\s*\{')
_MOST_BROKEN = 100
"""Beginnings of JSON in one text that are tried in vain: a reply of thousands of brackets takes no time."""
_MARK = re.compile(r"<tool_calls?>|<tools>|<function_call>|<function=|\[TOOL_CALLS\]|<\|tool_call")
_BREAK = re.compile(r"\s*(?:\Z|</|```)|[^\S\n]*\n")
"""What follows a value that broke off: the end of the text or of the line, or a closing mark."""
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
"""Strings and brackets of a JSON text."""
_DECODER = json.JSONDecoder(strict=False)


def find_calls(text: str, names: Collection[str]) -> tuple[list[ToolCall], str]:
    """The calls in a text, and the text without them and their marks.

    Args:
        text: a reply, thinking left out.
        names: the tools that are offered.

    Returns:
        Calls in order, without ids, and what is left of the text.
    """
    calls: list[ToolCall] = []
    kept: list[str] = []
    end = unclosed = 0
    for start, stop, value in _json_values(text):
        found = list(_calls_in(value, names))
        if not found:
            continue
        calls += found
        before = text[end:start]
        while opening := _OPENING.search(before):
            before = before[: opening.start()]
            unclosed += 1
        kept.append(before)
        while unclosed and (closing := _CLOSING.match(text, stop)):
            stop = closing.end()
            unclosed -= 1
        end = stop
    kept.append(text[end:])
    left = "".join(kept)
    return calls, left.strip() if calls else text


def unreadable_calls(text: str, names: Collection[str]) -> int:
    """How many things in a text look like calls; of a text from which those that can be read have been taken.

    These are the marks of formats, beginnings of objects that name a known tool, and whole calls of unknown tools.
    """
    marks = len(_MARK.findall(text))
    if marks:
        return marks
    named = "|".join(map(re.escape, sorted(names)))
    begun = len(re.findall(rf'\{{\s*"(?:{"|".join(_NAMES)})"\s*:\s*"(?:{named})"', text)) if named else 0
    return begun + sum(len(list(_calls_in(value, None))) for _, _, value in _json_values(text))


def plain_arguments(value: object) -> dict[str, Any] | None:
    """A call's arguments as an object of clean values; None if they are none. OpenAI's form has them as a text."""
    if isinstance(value, str):
        try:
            value = _DECODER.decode(value.strip() or "{}")
        except (ValueError, RecursionError):
            return None
    if value is None:
        return {}
    return _clean(value) if isinstance(value, Mapping) else None


def _json_values(text: str) -> Iterator[tuple[int, int, object]]:
    """Every outermost JSON object or list with its place."""
    place = broken = 0
    while broken < _MOST_BROKEN and (match := _START.search(text, place)):
        try:
            value, stop = _value_at(text, match.start())
        except (ValueError, RecursionError):
            place = match.start() + 1
            broken += 1
            continue
        yield match.start(), stop, value
        place = stop


def _value_at(text: str, start: int) -> tuple[object, int]:
    """The JSON value that begins at a place, and its end; its last closing brackets may be missing.

    Small models often close the arguments and forget the call. So a value that breaks off between two of its parts, at
    the end of a line or before a closing mark, is completed.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        stop = len(text[: error.pos].rstrip())
        if stop <= start or not _BREAK.match(text, stop):
            raise
        value, _ = _DECODER.raw_decode(text[start:stop] + _missing_brackets(text[start:stop]))
        return value, stop


def _missing_brackets(text: str) -> str:
    """What closes the brackets of a JSON text that are still open."""
    missing: list[str] = []
    for part in _BRACKETS.findall(text):
        if part in "{[":
            missing.append("}" if part == "{" else "]")
        elif part in "}]" and missing:
            missing.pop()
    return "".join(reversed(missing))


def _calls_in(value: object, names: Collection[str] | None) -> Iterator[ToolCall]:
    """The calls in a JSON value; with names None those of any tool."""
    if isinstance(value, Mapping):
        call = _call(value, names)
        if call is not None:
            yield call
            return
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _calls_in(item, names)


def _call(value: Mapping[str, Any], names: Collection[str] | None) -> ToolCall | None:
    texts = [value[key] for key in _NAMES if isinstance(value.get(key), str)]
    name = next((text for text in texts if names is None or text in names), None)
    if name is None or not _BESIDES.issuperset(value) or (names is None and value.keys().isdisjoint(_ARGUMENTS)):
        return None
    given = next((value[key] for key in _ARGUMENTS if key in value), None)
    arguments = plain_arguments(given)
    return None if arguments is None or _is_schema(arguments) else ToolCall(name, arguments)


def _is_schema(arguments: Mapping[str, Any]) -> bool:
    """Whether they only describe what arguments there could be: the model has repeated what it was shown."""
    return arguments.get("type") == "object" and isinstance(arguments.get("properties"), Mapping)


def _clean(value: Any) -> Any:
    """JSON values whose texts can be encoded: half a surrogate pair, which an escape can spell, cannot."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_clean(str(key)): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value
