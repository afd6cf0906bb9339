"""Tool calls in replies of any form: what can be read is a call, the rest stays text and is counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.support.templates import template_tokenizer
from tests.training.support.tiny_model import tiny_tokenizer
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.conversation import ToolSet
from training.rollouts.tool_calls import find_calls, unreadable_calls

NAMES = frozenset({"search", "calc"})


def tool(name: str, **types: str) -> dict[str, Any]:
    properties = {key: {"type": kind} for key, kind in types.items()}
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


TOOLS = ToolSet((tool("search", q="string"), tool("calc", a="integer", b="integer")))
OBJECT = '{"name": "search", "arguments": {"q": "a"}}'

FORMS = {
    "bare": OBJECT,
    "fenced": f"```json\n{OBJECT}\n```",
    "fence that is not closed": f"```json\n{OBJECT}",
    "amid prose": f"I will look it up.\n\n{OBJECT}\n\nThen I answer.",
    "tools": f"<tools>\n{OBJECT}\n</tools>",
    "tool_call": f"<tool_call>\n{OBJECT}\n</tool_call>",
    "mark that is not closed": f"<tool_call>\n{OBJECT}",
    "parameters": '{"name": "search", "parameters": {"q": "a"}}',
    "arguments as text": '{"name": "search", "arguments": "{\\"q\\": \\"a\\"}"}',
    "OpenAI": '{"tool_calls": [{"id": "1", "type": "function", "function": ' + OBJECT + "}]}",
    "list": f"[{OBJECT}]",
    "Mistral": f"[TOOL_CALLS][{OBJECT}]",
    "last bracket missing": OBJECT[:-1],
    "last bracket missing, marked": f"<tool_call>\n{OBJECT[:-1]}\n</tool_call>",
    "last brackets missing, fenced": f"```json\n[{OBJECT[:-1]}\n```",
    "last bracket missing, prose below": f"{OBJECT[:-1]}\nThen I answer.",
    "key order": '{"arguments": {"q": "a"}, "name": "search"}',
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_a_json_object_that_names_a_known_tool_is_a_call(text: str) -> None:
    calls, left = find_calls(text, NAMES)
    assert [(call.name, call.arguments) for call in calls] == [("search", {"q": "a"})]
    assert not set(left) & set("{}[]<>`")
    assert unreadable_calls(left, NAMES) == 0


NO_CALLS = {
    "another name": '{"name": "sing", "arguments": {}}',
    "a schema": json.dumps(tool("search", q="string")),
    "an answer": '{"name": "search", "year": 1999}',
    "arguments that are none": '{"name": "search", "arguments": [1]}',
    "prose": "search for it",
    "broken off within a text": '{"name": "search", "arguments": {"q": "a',
    "broken off within an argument": '{"name": "search", "arguments": {"q":',
    "prose where a bracket belongs": '{"name": "search", "arguments": {"q": "a"} is what I need',
    "braces missing": '"name": "search", "arguments": {"q": "a"}',
}


@pytest.mark.parametrize("text", NO_CALLS.values(), ids=NO_CALLS)
def test_anything_else_stays_text(text: str) -> None:
    assert find_calls(text, NAMES) == ([], text)


def test_several_calls_in_any_mixture() -> None:
    text = f"First.\n```json\n{OBJECT}\n```\nThen <tool_call>{OBJECT}</tool_call> and [{OBJECT}, {OBJECT}]."
    calls, left = find_calls(text, NAMES)
    assert len(calls) == 4
    assert left.split() == ["First.", "Then", "and", "."]
    assert find_calls("```json\n" + OBJECT + "\n" + OBJECT + "\n```", NAMES)[1] == ""


def test_what_looks_like_a_call_and_cannot_be_read_is_counted() -> None:
    assert unreadable_calls('<tool_call>{"name": "search", "arguments": {', NAMES) == 1
    assert unreadable_calls('{"name": "search", "arguments": {"q": }}', NAMES) == 1
    assert unreadable_calls("<tool_call>x</tool_call> <tool_call>y</tool_call>", NAMES) == 2
    assert unreadable_calls('{"name": "sing", "arguments": {"song": "x"}}', NAMES) == 1
    assert unreadable_calls('{"name": "Ada", "born": 1815} and {"name": "Linz"}', NAMES) == 0
    assert unreadable_calls("The tool search finds things.", NAMES) == 0


def test_half_a_surrogate_pair_is_replaced() -> None:
    [call], _ = find_calls('{"name": "search", "arguments": {"q\\ud800": ["\\udfff", "\\ud83d\\ude00"]}}', NAMES)
    assert json.dumps(call.arguments, ensure_ascii=False).encode() == '{"q\ufffd": ["\ufffd", "😀"]}'.encode()


def test_a_deep_or_long_text_is_no_trouble() -> None:
    for text in ("[" * 20_000, "{" * 20_000, '{"a":' * 5_000, '{"name": "search", "arguments": ' * 2_000):
        assert find_calls(text, NAMES)[0] == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.tuples(st.sampled_from(sorted(NAMES)), st.dictionaries(st.text(max_size=5), JSON, max_size=3)),
                max_size=4), st.integers(0, 2), st.booleans())  # fmt: skip
def test_calls_survive_any_writing_of_them(
    wanted: list[tuple[str, dict[str, Any]]], style: int, ascii_only: bool
) -> None:
    wrap = ["{}\n", "<tool_call>{}</tool_call>", "```json\n{}\n```\n"][style]
    objects = [json.dumps({"name": name, "arguments": given}, ensure_ascii=ascii_only) for name, given in wanted]
    text = "Well. " + "".join(wrap.replace("{}", each) for each in objects)
    calls, left = find_calls(text, NAMES)
    clean = [(name, json.loads(json.dumps(given))) for name, given in wanted]
    assert [(call.name, call.arguments) for call in calls] == clean
    assert left.strip() == "Well."


PIECES = st.lists(
    st.sampled_from(["<tool_call>", "</tool_call>", "<think>", "</think>", "{", "}", '"name"', ":", '"search"', ",",
                     '"arguments"', "[", "]", "```json", "```", OBJECT, "x", "\n", "<function=search>", "</function>",
                     "<parameter=q>", "</parameter>", '{"name": "search", "parameters": ', "<|im_end|>", "\\ud800"]),
    max_size=14,
).map("".join)  # fmt: skip


@pytest.fixture(scope="module", params=["qwen2_5", "qwen3", "qwen3_5_think", "llama3_1", "lfm2_2_5", "gemma4_v5", None])
def chat(request: pytest.FixtureRequest) -> ChatTokens:
    return ChatTokens(template_tokenizer(request.param) if request.param else tiny_tokenizer())


@settings(deadline=None, max_examples=60)
@given(text=PIECES, tools=st.booleans(), cut=st.booleans(), most=st.none() | st.just(1))
def test_any_reply_is_read(chat: ChatTokens, text: str, tools: bool, cut: bool, most: int | None) -> None:
    ids = [*chat.template.encode(text), *([] if cut else [chat.end_of_turn])]
    reply = chat.replies.read(ids, prompt=chat.opening([("user", "Hi")]), tools=TOOLS if tools else ToolSet(),
                              cut_off=cut, most_calls=most)  # fmt: skip
    assert not (reply.calls and (cut or not tools))
    assert most is None or len(reply.calls) <= most
    for call in reply.calls:
        assert call.name
        assert isinstance(call.arguments, dict)
        json.dumps(call.arguments, ensure_ascii=False).encode()
    if "x" in text and not reply.calls:
        assert "x" in reply.content + reply.thinking


def test_a_models_own_form_is_read_with_the_types_of_the_schema() -> None:
    chat = ChatTokens(template_tokenizer("qwen3_5_nothink"))
    text = "<tool_call>\n<function=calc>\n<parameter=a>\n3\n</parameter>\n</function>\n</tool_call>"
    reply = chat.replies.read(chat.template.encode(text), prompt=chat.opening([("user", "Hi")]), tools=TOOLS)
    assert [(call.name, call.arguments) for call in reply.calls] == [("calc", {"a": 3})]


def test_text_between_calls_is_kept() -> None:
    chat = ChatTokens(template_tokenizer("qwen2_5"))
    one = f"<tool_call>\n{OBJECT}\n</tool_call>"
    reply = chat.replies.read(chat.template.encode(f"A {one} B {one} C"), tools=TOOLS)
    assert len(reply.calls) == 2
    assert reply.content.split() == ["A", "B", "C"]


def test_one_broken_call_does_not_take_the_others_with_it() -> None:
    chat = ChatTokens(template_tokenizer("qwen2_5"))
    broken = '<tool_call>\n{"name": "calc", "arguments": {"a": }}\n</tool_call>'
    reply = chat.replies.read(chat.template.encode(f"<tool_call>\n{OBJECT}\n</tool_call>\n{broken}"), tools=TOOLS)
    assert [call.name for call in reply.calls] == ["search"]
    assert reply.content == broken
    assert reply.unreadable == 1
