"""One step, read from a planner's reply."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from graph.parsing.blocks import fenced_blocks
from graph.parsing.json_text import json_values, loads
from graph.parsing.labels import Labels
from graph.parsing.thinking import without_thinking
from graph.parsing.tool_names import exact_name, tools_named
from graph.state import Failure, Plan

_LONGEST_NAME = 60
"""Characters of a name that the planner is told of."""
_LABELS = Labels(
    {
        "justification": ("justification", "reason", "reasoning", "why"),
        "context": ("context",),
        "sub_goal": ("sub goal", "subgoal", "goal"),
        "tool_name": ("tool name", "tool", "toolname", "tool to use", "selected tool", "action"),
        "input": ("input", "tool input", "action input", "arguments", "code"),
    }
)


def parse_plan(reply: str, tools: Iterable[str]) -> Plan:
    """Read one step from a planner's reply.

    Args:
        reply: The text as the model wrote it.
        tools: Names of the tools that may be chosen.

    Returns:
        The step. When no known tool can be read its `error` says why (kind `plan` or `unknown_tool`) and `tool_name`
        holds what the reply has in its place.
    """
    tools = tuple(tools)
    text = without_thinking(reply)
    fields = _fields(text, tools)
    named = fields.get("tool_name", "")
    candidates = tools_named(named, tools) if named else []
    error: Failure | None = None
    if not text:
        what = "is all thinking and decides nothing" if reply.strip() else "is empty"
        error = {"kind": "plan", "message": f"the reply {what}; it needs a line 'Tool Name: ...'"}
    elif not named:
        error = {"kind": "plan", "message": "the reply names no tool; it needs a line 'Tool Name: ...'"}
    elif not candidates:
        error = {
            "kind": "unknown_tool",
            "message": f"there is no tool {_clip(named)!r}; the tools are {', '.join(tools)}",
        }
    elif len(candidates) > 1:
        error = {
            "kind": "unknown_tool",
            "message": f"{_clip(named)!r} could mean {' or '.join(candidates)}; write the exact name of one tool",
        }
    return Plan(
        justification=fields.get("justification", ""),
        context=fields.get("context", ""),
        sub_goal=fields.get("sub_goal", ""),
        tool_name=candidates[0] if error is None else _clip(named),
        input=_unfenced_input(fields.get("input", "")),
        reply=reply,
        error=error,
    )


def _fields(text: str, tools: tuple[str, ...]) -> dict[str, str]:
    """The parts of a step by name: from JSON, from tags, or from lines."""
    fields = _fields_in_json(text)
    if "tool_name" not in fields:
        text = _labelled_part(text)
        fields = _LABELS.in_tags(text)
    if "tool_name" not in fields:
        fields = _fields_in_lines(text)
    unlabelled = fields.pop("", "")
    first = unlabelled.partition("\n")[0]
    if "tool_name" not in fields and (name := exact_name(first, tools)):
        fields["tool_name"] = name  # at temperature 0 small models drop the first label
    return fields


def _fields_in_json(text: str) -> dict[str, str]:
    """The fields of the last JSON object that chooses a tool, unless a label has chosen one before it."""
    fields: dict[str, str] = {}
    for part in json_values(text):
        steps = part.value if isinstance(part.value, list) else [part.value]
        first = next((step for step in map(_step, steps) if "tool_name" in step), None)
        if first is None:
            continue
        if not fields and "tool_name" in _fields_in_lines(text[: part.start]):
            return {}
        fields = first
    return fields


def _step(value: Any) -> dict[str, str]:
    """The step that a JSON object is, in the form asked for or in that of a tool call."""
    fields = _LABELS.in_json(value)
    if isinstance(value, dict) and isinstance(arguments := _LABELS.value_of("input", value), dict):
        fields["input"] = _fields_of_arguments(arguments).get("input", "")
    if "tool_name" in fields and not isinstance(value.get("function"), dict):
        return fields
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list) and value["tool_calls"]:
        value = value["tool_calls"][0]
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return fields
    arguments = value.get("arguments", value.get("parameters"))
    return (
        {**fields, "tool_name": value["name"], **_fields_of_arguments(arguments)} if arguments is not None else fields
    )


def _fields_of_arguments(arguments: Any) -> dict[str, str]:
    """The arguments of a tool call as the context and the input of a step."""
    if isinstance(arguments, str):
        try:
            arguments = loads(arguments)
        except ValueError:
            return {"context": arguments, "input": arguments}
    if not isinstance(arguments, Mapping) or not arguments:
        return {}
    values = list(arguments.values())
    as_json = json.dumps(arguments, ensure_ascii=False)
    return {"context": as_json, "input": values[0] if len(values) == 1 and isinstance(values[0], str) else as_json}


def _fields_in_lines(text: str) -> dict[str, str]:
    """The labelled lines, a value reaching to the next label; under an empty name what stands before the first."""
    fields: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        labelled = _LABELS.line(line)
        name = labelled[0] if labelled else ""
        if "tool_name" in fields and "input" in fields:
            name = ""  # the last of the two is the end, and an input may hold any line
        elif name == "input" and "tool_name" not in fields and current is fields.get("context", ()):
            name = ""  # `Code: LHR` is a fact there
        if labelled and name and name not in fields:
            current = fields[name] = [labelled[1]]
        elif current is not None:
            current.append(line)
        elif line.strip():
            current = fields[""] = [line]
    return {name: "\n".join(lines).strip() for name, lines in fields.items()}


def _labelled_part(text: str) -> str:
    """The text, or the fenced block in it that chooses a tool where the text around it does not."""
    blocks = fenced_blocks(text)
    if not blocks:
        return text
    around, position = "", 0
    for block in blocks:
        around, position = around + text[position : block.start], block.end
    if "tool_name" in _fields_in_lines(around + text[position:]):
        return text
    return next((block.body for block in blocks if "tool_name" in _fields_in_lines(block.body)), text)


def _clip(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 1] + "…"


def _unfenced_input(text: str) -> str:
    """An input without the fence or the backticks around it."""
    text = text.strip()
    block = next(iter(fenced_blocks(text, "python")), None)
    if block and block.start == 0:
        return block.body.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == "`" else text
