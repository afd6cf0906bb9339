"""Which calls of a tool a reply makes.

The form that was asked for (`{"calls": [...]}`) decides where it is there; then the forms in which models call tools by
habit (OpenAI's, `<tool_call>`, `<function=...>`); then bare arguments. Of several, the last that fits counts: a reply
mends itself. A schema that is repeated is no call, and `{}` in a sentence only one where there is nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from graph.parsing.call_forms import Arguments, Call, named_calls
from graph.parsing.json_text import json_values, loads
from graph.parsing.thinking import without_thinking
from graph.parsing.tool_names import match_tool

_WRAPPERS = ("calls", "tool_calls", "function_calls", "call", "tool_call")
_NAME_KEYS = ("name", "tool_name", "tool", "function", "action", "recipient_name")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "tool_input", "action_input", "input", "kwargs", "params")
_SCHEMA_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
_BETWEEN_CALLS = re.compile(r"(?:\s|[;,]|</?tool_calls?>|<\|[^|>]*\|>|```(?:json)?)*\Z")


@dataclass(frozen=True)
class _Reading:
    calls: list[Call]
    rank: int
    """How much the form says that this is a call: 3 as asked for, 2 by name, 1 bare, 0 nothing but `{}`."""


def calls_in(
    reply: str,
    tool: str,
    schema: Mapping[str, Any],
    complaint: Callable[[Arguments], str | None],
    most: int,
) -> list[Arguments] | str:
    """The arguments of each call that a reply makes.

    Args:
        reply: The text as the model wrote it.
        tool: Name of the tool that is called; empty if any may be.
        schema: JSON schema of one call.
        complaint: What is wrong with the arguments of one call, or None.
        most: How many calls may be made.

    Returns:
        The arguments, or a sentence that says why they cannot be read.
    """
    text = without_thinking(reply)
    readings = list(_readings(text, tool, schema))
    if not readings:
        return "the reply holds no JSON object"
    rank = max(reading.rank for reading in readings)
    first_complaint: str | None = None
    for reading in reversed([reading for reading in readings if reading.rank == rank]):
        problem = _problem(reading, tool, complaint, most)
        if problem is None:
            return [call.arguments for call in reading.calls]
        first_complaint = first_complaint or problem
    return first_complaint or "the reply holds no JSON object"


def text_in_call(text: str, argument: str, tool: str) -> str:
    """The text that a call by JSON gives for an argument, where no JSON was asked for; empty if there is none."""
    schema = {"properties": {argument: {"type": "string"}}}
    calls = calls_in(text, tool, schema, lambda call: None if isinstance(call.get(argument), str) else "no text", 1)
    return "" if isinstance(calls, str) else str(calls[0][argument])


def _problem(reading: _Reading, tool: str, complaint: Callable[[Arguments], str | None], most: int) -> str | None:
    if not reading.calls:
        return "the calls are not a list of JSON objects"
    if len(reading.calls) > most:
        return f"there are {len(reading.calls)} calls; at most {most} are allowed"
    for call in reading.calls:
        if tool and call.tool and match_tool(call.tool.removeprefix("functions."), [tool]) is None:
            return f"the reply calls {call.tool}, but this step is for {tool}"
        if problem := complaint(call.arguments):
            return problem
    return None


def _readings(text: str, tool: str, schema: Mapping[str, Any]) -> Iterator[_Reading]:
    properties: Mapping[str, Any] = schema.get("properties") or {}
    if named := named_calls(text, properties):
        yield _Reading(named, 2)
    previous: _Reading | None = None
    end = 0
    for part in json_values(text):
        reading = _reading(part.value, tool, properties)
        if reading is None:
            continue
        together = previous is not None and previous.rank == reading.rank == 2
        if together and previous and _BETWEEN_CALLS.match(text[end : part.start]):
            reading = _Reading([*previous.calls, *reading.calls], 2)
        yield reading
        previous, end = reading, part.end


def _reading(value: object, tool: str, properties: Mapping[str, Any]) -> _Reading | None:
    """What a JSON value says as calls of the tool; None if it is no call at all."""
    for key in _WRAPPERS:
        if isinstance(value, dict) and key in value and not _is_schema(value[key]):
            items = _items(value[key])
            if key in properties and not all(isinstance(item, dict) and set(item) <= set(properties) for item in items):
                continue  # an argument of the tool's own
            calls = [_call(item, tool, properties) for item in items]
            return _Reading([] if None in calls else cast("list[Call]", calls), 3)
    if isinstance(value, dict):
        calls = [_call(value, tool, properties)]
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        calls = [_call(item, tool, properties) for item in value]
    else:
        return None
    if None in calls:
        return None
    complete = cast("list[Call]", calls)
    if all(call.tool for call in complete):
        return _Reading(complete, 2)
    return _Reading(complete, 1 if any(call.arguments for call in complete) else 0)


def _items(value: Any) -> list[Any]:
    """The calls under a wrapper: a list, one call alone, or either written as a text."""
    if isinstance(value, str):
        try:
            value = loads(value)
        except ValueError:
            return [value]
    return value if isinstance(value, list) else [value]


def _call(value: object, tool: str, properties: Mapping[str, Any]) -> Call | None:
    if not isinstance(value, dict):
        return None
    fields: Arguments = value
    if set(fields) <= set(properties):
        return Call(fields)
    if _is_schema(fields):
        return None
    if isinstance(fields.get("function"), dict):
        fields = fields["function"]
    if list(fields) == [tool] and isinstance(fields[tool], dict):
        return Call(fields[tool], tool)
    name = next((fields[key] for key in _NAME_KEYS if isinstance(fields.get(key), str)), "")
    for key in _ARGUMENT_KEYS:
        if key in fields and key not in properties and (arguments := _arguments(fields[key])) is not None:
            return None if _is_schema(arguments) else Call(arguments, name)
    return Call(fields)


def _arguments(value: object) -> Arguments | None:
    """What stands under `arguments`: an object, an object written as a text, or nothing."""
    if isinstance(value, str):
        try:
            value = loads(value) if value.strip() else {}
        except ValueError:
            return None
    if value is None:
        return {}
    return value if isinstance(value, dict) else None


def _is_schema(value: object) -> bool:
    """Whether a value describes arguments instead of giving them."""
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    described = isinstance(value.get("properties"), dict) or "items" in value or "$ref" in value
    return "$schema" in value or "$defs" in value or (isinstance(kind, str) and kind in _SCHEMA_TYPES and described)
