"""Grammars of JSON schemas, with a random model: what it writes keeps to the schema by the grammar alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from graph.models.embedded import EmbeddedChat
from graph.models.grammars import grammar_of
from graph.models.server_settings import ServerSettings
from graph.verifier import VERDICT_SCHEMA

ODD = ['say "yes"', "back\\slash", "two\nlines", "é → 漢", "tab\there", "plain"]


def object_of(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


async def test_a_random_model_keeps_to_the_choices_and_their_order(gguf: Path) -> None:
    schema = object_of(
        **{'the "mood"': {"type": "string", "enum": ODD}, "end": {"type": "string", "enum": ["a", "ab"]}}
    )
    seen = set()
    for seed in range(8):
        value = await written(gguf, schema, seed)
        assert list(value) == ['the "mood"', "end"]
        assert value['the "mood"'] in ODD
        assert value["end"] in ("a", "ab")
        seen.add(value['the "mood"'])
    assert len(seen) > 2, "the model chooses, not the grammar"


async def test_texts_are_json_strings(gguf: Path) -> None:
    schema = object_of(kind={"type": "string", "enum": ["k"]}, text={"type": "string", "description": "Any text."})
    for seed in range(4):
        reply = await reply_of(gguf, schema, seed)
        assert reply.startswith('{"kind":"k","text":"')
        if not reply.endswith('"}'):  # a random model rarely ends a text: what is there of it is valid so far
            reply = reply[: reply.rindex("\\")] if "\\" in reply[-6:] else reply
            reply += '"}'
        assert isinstance(json.loads(reply)["text"], str)


def test_verdicts_need_no_engine_and_other_schemas_keep_theirs() -> None:
    pytest.importorskip("xllamacpp", reason="the extra `embedded` is not installed")
    assert grammar_of(VERDICT_SCHEMA).startswith('root ::= "{" "\\"reason\\"" ":" string "," "\\"result\\"" ":" (')
    text = {"type": "string"}
    beyond = [
        {"type": "object", "properties": {"a": text}},
        object_of(a={"type": "integer"}),
        object_of(a=True),
        object_of(a={"type": "string", "pattern": "[a-z]+"}),
        object_of(a={"type": "string", "minLength": 3}),
        {**object_of(a=text, b=text), "required": ["a"]},
        {**object_of(a=text), "additionalProperties": True},
        {"type": "array", "items": text},
    ]
    for schema in beyond:
        assert "char ::= [^" not in grammar_of(schema) or "space ::=" in grammar_of(schema), schema


async def written(model: Path, schema: dict[str, Any], seed: int) -> dict[str, Any]:
    value = json.loads(await reply_of(model, schema, seed))
    assert isinstance(value, dict)
    return value


async def reply_of(model: Path, schema: dict[str, Any], seed: int) -> str:
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}
    chat = EmbeddedChat(
        model=str(model), temperature=1.5, max_tokens=200, settings=ServerSettings(slots=1, context=512)
    )
    return str((await chat.ainvoke("Write.", response_format=form, seed=seed)).content)
