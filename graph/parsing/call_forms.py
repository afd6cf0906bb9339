"""Tool calls in the native formats of model families, other than JSON by name."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graph.parsing.blocks import fenced_blocks, syntax_of
from graph.parsing.json_text import json_values, loads

Arguments = dict[str, Any]
"""What one call of a tool is given."""

_NAMED_FORMS = [
    re.compile(form, re.DOTALL)
    for form in (
        r"<function=(?P<name>[^>\s]+)>(?P<body>.*?)(?:</function>|\Z)",  # Llama, Qwen3-Coder
        r"<invoke name=\"(?P<name>[^\"]+)\">(?P<body>.*?)(?:</invoke>|\Z)",  # Anthropic, MiniMax
        r"<tool_call>\s*(?P<name>[\w.-]+)\s*(?P<body>(?:<arg_key>.*?)?)</tool_call>",  # GLM
        # Mistral
        r"\[TOOL_CALLS\]\s*(?P<name>[\w.-]+)\s*(?:\[CALL_ID\]\w+)?\[ARGS\](?P<body>.*?)(?=\[TOOL_CALLS\]|\Z)",
        r"functions\.(?P<name>[\w-]+):\d+\s*<\|tool_call_argument_begin\|>(?P<body>.*?)<\|tool_call_end\|>",  # Kimi
        # DeepSeek
        r"<｜tool▁call▁begin｜>(?:function)?<｜tool▁sep｜>(?P<name>[\w.-]+)(?P<body>.*?)<｜tool▁call▁end｜>",
    )
]
_PARAMETER = re.compile(
    r"<parameter(?:=(?P<a>[^>\s]+)| name=\"(?P<b>[^\"]+)\"[^>]*)>(?P<value>.*?)</parameter>"
    r"|<arg_key>(?P<c>.*?)</arg_key>\s*<arg_value>(?P<content>.*?)</arg_value>",
    re.DOTALL,
)


@dataclass(frozen=True)
class Call:
    """One call in a reply."""

    arguments: Arguments
    tool: str = ""
    """The tool that the reply names; empty if it names none."""


def named_calls(text: str, properties: Mapping[str, Any]) -> list[Call]:
    """The calls of a text in the native format of one family of models."""
    for form in _NAMED_FORMS:
        calls = [call for match in form.finditer(text) if (call := _named_call(match, properties)) is not None]
        if calls:
            return calls
    return _pythonic_calls(text)


def _named_call(match: re.Match[str], properties: Mapping[str, Any]) -> Call | None:
    arguments = {
        (one["a"] or one["b"] or one["c"]).strip(): _typed(one["value"] or one["content"] or "", one, properties)
        for one in _PARAMETER.finditer(match["body"])
    }
    body = match["body"].strip()
    if body and match[0].rstrip().endswith(body) and not body.endswith(("</parameter>", "}", "```")):
        return None  # not closed, and cut off
    if not arguments and body:
        objects = [part.value for part in json_values(body) if isinstance(part.value, dict)]
        if not objects:
            return None
        arguments = objects[-1]
    return Call(arguments, match["name"])


def _pythonic_calls(text: str) -> list[Call]:
    """The calls of a reply that is nothing but calls in Python (`[double(number=10)]`)."""
    blocks = fenced_blocks(text)
    code = blocks[-1].body if blocks else text
    if "(" not in code:
        return []
    try:
        body = syntax_of(code.strip().removeprefix("<|python_tag|>"), mode="eval").body
        expressions = body.elts if isinstance(body, ast.List) else [body]
        return [
            Call({str(word.arg): ast.literal_eval(word.value) for word in one.keywords}, ast.unparse(one.func))
            for one in expressions
            if isinstance(one, ast.Call) and not one.args
        ]
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return []


def _typed(text: str, parameter: re.Match[str], properties: Mapping[str, Any]) -> Any:
    """A parameter's value: a text where the schema wants one, else what JSON makes of it."""
    name = (parameter["a"] or parameter["b"] or parameter["c"]).strip()
    text = text.removeprefix("\n").removesuffix("\n")
    field = properties.get(name)
    if isinstance(field, Mapping) and field.get("type") == "string":
        return text
    try:
        return loads(text)
    except ValueError:
        return text
