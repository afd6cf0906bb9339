"""Which JSON of a reply is its call."""

# ruff: noqa: E501 - the replies are to the letter
from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.parsing import calls_in, find_json, json_values

SCHEMA = {
    "type": "object",
    "properties": {"number": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["number"],
}
F = "```"
N = {"number": 10}


def _complaint(call: dict[str, Any]) -> str | None:
    if unknown := set(call) - set(SCHEMA["properties"]):
        return f"unknown: {unknown}"
    return None if isinstance(call.get("number"), int) else "number must be an integer"


def _read(reply: str) -> list[dict[str, Any]] | str:
    return calls_in(reply, "double", SCHEMA, _complaint, 4)


@pytest.mark.parametrize(
    ("reply", "calls"),
    [
        ('{"calls": [{"number": 10}]}', [N]),
        ('[{"number": 10}, {"number": 2}]', [N, {"number": 2}]),
        ('{"number": 10}', [N]),
        ('{"calls": {"number": 10}}', [N]),
        ('The {} is empty. {"number": 10}', [N]),
        ('{"number": 10} and {}', [N]),
        ('{"type":"object","properties":{"number":{"type":"integer"}}} so {"number": 10}', [N]),
        ('{"number": 10} by {"type":"object","properties":{"number":{"type":"integer"}}}', [N]),
        ('{"number": 1}\nNo: {"number": 10}', [N]),
        ('{"calls": [{"number": 1}]} better {"calls": [{"number": 10}]}', [N]),
        ('{"calls": [{"number": 10}]}\nIt gives {"number": 20}', [N]),
        ('{"name": "double", "arguments": {"number": 10}}', [N]),
        ('{"name": "double", "arguments": "{\\"number\\": 10}"}', [N]),
        ('{"function": {"name": "double", "arguments": "{\\"number\\": 10}"}}', [N]),
        (
            '{"tool_calls": [{"id":"1","type":"function","function": {"name": "double", "arguments": "{\\"number\\": 10}"}}]}',
            [N],
        ),
        ('<tool_call>\n{"name": "double", "arguments": {"number": 10}}\n</tool_call>', [N]),
        (
            '<tool_call>\n{"name": "double", "arguments": {"number": 10}}\n</tool_call>\n<tool_call>\n{"name": "double", "arguments": {"number": 2}}\n</tool_call>',
            [N, {"number": 2}],
        ),
        ('<|python_tag|>{"name": "double", "parameters": {"number": 10}}<|eom_id|>', [N]),
        ('[TOOL_CALLS] [{"name": "double", "arguments": {"number": 10}}]', [N]),
        ('[TOOL_CALLS]double[ARGS]{"number": 10}', [N]),
        ("{'calls': [{'number': 10}]}", [N]),
        ('{"calls": [{"number": 10,},],}', [N]),
        ('{"calls": [{"number": 10 // ten\n}]}', [N]),
        ('{"calls": [{"number": 10 /* x */}]}', [N]),
        ("{calls: [{number: 10}]}", [N]),
        ('{"calls": [{"number": 10, "note": None}]}', [{"number": 10, "note": None}]),
        ('{"calls": [{"number": NaN}]}', "number must"),
        ('{"calls": [{"number": 1000}, {"number": 2', "the reply holds no JSON object"),
        ('{"calls": [\n  {\n    "number": 1000\n  },\n  {"numb', "the reply holds no JSON object"),
        ('{"name": "delete", "arguments": {"number": 10}}', "the reply calls delete, but this step is for double"),
        ('{"double": {"number": 10}}', [N]),
        ('{"arguments": {"number": 10}}', [N]),
        ('{"action": "double", "action_input": {"number": 10}}', [N]),
        ('```json\n{"calls": [{"number": 10}]}\n```', [N]),
        (
            "<function=double>\n<parameter=number>\n10\n</parameter>\n<parameter=note>\n10\n</parameter>\n</function>",
            [{"number": 10, "note": "10"}],
        ),
        ('<function=double>{"number": 10}</function>', [N]),
        ("<tool_call>double\n<arg_key>number</arg_key>\n<arg_value>10</arg_value>\n</tool_call>", [N]),
        ('<invoke name="double"><parameter name="number">10</parameter></invoke>', [N]),
        ('{"calls": [{"number": 10, "note": "it\'s {x} // y # z"}]}', [{"number": 10, "note": "it's {x} // y # z"}]),
        ("{'calls': [{'number': 10, 'note': 'say \"hi\", it\\'s'}]}", [{"number": 10, "note": 'say "hi", it\'s'}]),
        ('{"calls": [{"number": 10, "note": "line\nbreak"}]}', [{"number": 10, "note": "line\nbreak"}]),
        ('{"calls": [{"number": 10, "note": "line\nbreak",}]}', [{"number": 10, "note": "line\nbreak"}]),
        ('{"calls": [{"number": 10, "note": "\\ud83d"}]}', [{"number": 10, "note": "\ufffd"}]),
        ('{"calls": [{"number": 10, "note": "\\ud83d\\ude00"}]}', [{"number": 10, "note": "\U0001f600"}]),
        ('{"calls": []}', "the calls are not a list of JSON objects"),
        ("nothing", "the reply holds no JSON object"),
        ('[1] Forth: {"number": 10}', [N]),
        ('I don\'t use {x}. {"number": 10}', [N]),
        ("{\n  // the number\n  number: 10,\n}", [N]),
        ('{"calls": [{"number": 5000 ... no.\n{"calls": [{"number": 10}]}', [N]),
        (
            '{"name":"double","description":"d","parameters":{"type":"object","properties":{"number":{"type":"integer"}}}}\n{"number": 10}',
            [N],
        ),
        ('Answer:\n\n{"calls":[{"number":10}]}\n\nwhere {"calls": [...]} is the form', [N]),
        ('{"properties": {"number": 10}}', "unknown"),
        ('{"calls": [{"name": "double", "arguments": {"number": 10}}]}', [N]),
        ('functions.double({"number": 10})', [N]),
        ('"{\\"calls\\": [{\\"number\\": 10}]}"', [N]),
        ("{“calls”: [{“number”: 10}]}", [N]),
        ('{"calls": "[{\\"number\\": 10}]"}', [N]),
        ('{"call": {"number": 10}}', [N]),
        ("[double(number=10)]", [N]),
        (f"{F}tool_code\ndouble(number=10, note='a')\n{F}", [{"number": 10, "note": "a"}]),
        ("delete(number=10)", "the reply calls delete"),
        (
            f'<｜tool▁call▁begin｜>function<｜tool▁sep｜>double\n{F}json\n{{"number": 10}}\n{F}<｜tool▁call▁end｜>\n'
            f'<｜tool▁call▁begin｜>function<｜tool▁sep｜>double\n{F}json\n{{"number": 2}}\n{F}<｜tool▁call▁end｜>',
            [N, {"number": 2}],
        ),
        ('functions.double:0<|tool_call_argument_begin|>{"number": 10}<|tool_call_end|>', [N]),
        ('[TOOL_CALLS]double[ARGS]{"number": 10}[TOOL_CALLS]double[ARGS]{"number": 2}', [N, {"number": 2}]),
    ],
)
def test_the_calls_of_a_reply_are_found(reply: str, calls: list[dict[str, Any]] | str) -> None:
    read = _read(reply)
    assert read.startswith(calls) if isinstance(read, str) and isinstance(calls, str) else read == calls


def test_an_empty_object_is_a_call_where_nothing_else_is() -> None:
    def read(reply: str) -> list[dict[str, Any]] | str:
        return calls_in(reply, "now", {"type": "object", "properties": {"zone": {"type": "string"}}}, lambda _: None, 4)

    assert read("{}") == [{}]
    assert read('{"calls": [{}]}') == [{}]
    assert read('Without a zone it would be {}, so: {"zone": "UTC"}, and not {}.') == [{"zone": "UTC"}]
    assert isinstance(read('{"type": "object", "properties": {"zone": {"type": "string"}}}'), str)


def test_a_tool_whose_arguments_look_like_a_call_gets_them() -> None:
    schema = {"type": "object", "properties": {"name": {}, "arguments": {}, "calls": {}, "type": {}, "properties": {}}}
    for arguments in ({"name": "x", "arguments": {"a": 1}}, {"calls": [1]}, {"type": "object", "properties": {}}):
        assert calls_in(json.dumps({"calls": [arguments]}), "make", schema, lambda _: None, 4) == [arguments]
        assert calls_in(json.dumps(arguments), "make", schema, lambda _: None, 4) == [arguments]


_ARGUMENTS = st.fixed_dictionaries({"number": st.integers()}, optional={"note": st.text(max_size=30)})
_FORMS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "asked for": lambda calls: json.dumps({"calls": calls}),
    "a bare list": json.dumps,
    "OpenAI": lambda calls: json.dumps(
        {
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "double", "arguments": json.dumps(c)}}
                for c in calls
            ]
        }
    ),
    "tags": lambda calls: "\n".join(
        f"<tool_call>\n{json.dumps({'name': 'double', 'arguments': c})}\n</tool_call>" for c in calls
    ),
    "Python": lambda calls: repr({"calls": calls}),
    "indented": lambda calls: (
        f"Here:\n```json\n{json.dumps({'calls': calls}, indent=2, ensure_ascii=False)}\n```\nDone."
    ),
}


@pytest.mark.parametrize("form", _FORMS)
@given(st.lists(_ARGUMENTS, min_size=1, max_size=4))
def test_every_form_gives_the_same_calls(form: str, calls: list[dict[str, Any]]) -> None:
    expected = [
        {key: value.replace("\0", "\ufffd") if isinstance(value, str) else value for key, value in call.items()}
        for call in calls
    ]
    assert _read(_FORMS[form](calls)) == expected


@given(st.lists(_ARGUMENTS, min_size=2, max_size=4), st.data())
def test_a_reply_that_was_cut_off_makes_no_call(calls: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = json.dumps({"calls": calls}, indent=data.draw(st.sampled_from([None, 1])))
    assert isinstance(_read(whole[: data.draw(st.integers(0, len(whole) - 1))]), str)


@given(st.text(max_size=300) | st.text(alphabet="{}[]\":,abc \n'`*<>#-./\\\\", max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    _read(text)
    assert find_json(text) is None or isinstance(find_json(text), dict)
    for found in json_values(text):
        json.dumps(found.value, allow_nan=False).encode("utf-8")
