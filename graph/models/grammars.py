"""Grammars for llama.cpp that hold a reply to a JSON schema, without white space between its tokens.

Small models write line breaks wherever they may. Wheels of xllamacpp turn a schema over to the engine llguidance, which
takes any schema and a second for its first one, since it then reads the model's whole vocabulary. Objects of plain
fields, such as a verdict, are therefore written in llama.cpp's own notation (GBNF).
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

_STRING: Final = r"""string ::= "\"" char* "\""
char ::= [^"\\\x00-\x1f\x7f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F])
"""
_SPACE = re.compile(r"^space ::= .*$", re.MULTILINE)
"""The rule for white space in a grammar that llama.cpp makes."""


def grammar_of(schema: Mapping[str, Any]) -> str:
    """The grammar of a JSON schema."""
    return _flat(schema) or _any(schema)


def _flat(schema: Mapping[str, Any]) -> str:
    """The grammar of an object whose fields are all required texts or choices; empty for any other schema."""
    fields = schema.get("properties", {})
    if set(schema) - {"title", "description"} != {"type", "properties", "required", "additionalProperties"}:
        return ""
    if schema["type"] != "object" or schema["additionalProperties"] is not False or {*schema["required"]} != {*fields}:
        return ""
    values = [_value(field) for field in fields.values()]
    if not all(values):
        return ""
    members = ' "," '.join(f'{_quoted(name)} ":" {value}' for name, value in zip(fields, values, strict=True))
    return f'root ::= "{{" {members} "}}"\n{_STRING}'


def _value(field: Mapping[str, Any] | bool) -> str:
    if isinstance(field, bool):  # any value, or none
        return ""
    kind = {name: value for name, value in field.items() if name not in ("title", "description", "default")}
    if kind == {"type": "string"}:
        return "string"
    if kind.get("type") == "string" and set(kind) == {"type", "enum"}:
        return f"({' | '.join(map(_quoted, kind['enum']))})"
    return ""


def _quoted(text: str) -> str:
    """A JSON string as a terminal of the grammar; what JSON escapes, GBNF escapes once more."""
    return json.dumps(json.dumps(text, ensure_ascii=False), ensure_ascii=False)


def _any(schema: Mapping[str, Any]) -> str:
    """The grammar that xllamacpp makes: for llguidance, which reads the added key, or llama.cpp's own."""
    spaces = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
    grammar = importlib.import_module("xllamacpp").json_schema_to_grammar({**schema, "x-guidance": spaces})
    return _SPACE.sub('space ::= ""', str(grammar))
