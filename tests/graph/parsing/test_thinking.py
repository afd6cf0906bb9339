"""A draft decides nothing, however its thinking is marked and whoever reads the reply."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.parsing import calls_in, code_in, parse_answer, parse_plan, parse_verdict, without_thinking

F = "```"
MARKS = [
    ("<think>", "</think>"),
    ("<THINK>", "</THINK>"),
    ("<thinking>", "</thinking>"),
    ('<thinking mode="long">', "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("<|think|>", "<|/think|>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("&lt;think&gt;", "&lt;/think&gt;"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]


def _plan(tool: str) -> str:
    return f"Justification: x\nContext: y\nSub-Goal: z\nTool Name: {tool}"


def _call(reply: str) -> object:
    schema = {"properties": {"number": {"type": "integer"}}}
    return calls_in(reply, "transfer", schema, lambda call: None if "number" in call else "no number", 4)


READERS: dict[str, tuple[Callable[[str], object], str, str, object]] = {
    "plan": (lambda reply: parse_plan(reply, ("a", "b"))["tool_name"], _plan("a"), _plan("b"), "b"),
    "plan in JSON": (lambda r: parse_plan(r, ("a", "b"))["tool_name"], '{"tool_name": "a"}', '{"tool_name": "b"}', "b"),
    "call": (_call, '{"calls": [{"number": 1000}]}', '{"calls": [{"number": 10}]}', [{"number": 10}]),
    "verdict": (
        lambda reply: parse_verdict(reply)[:2],
        '{"result": "reject", "next": "continue"}',
        '{"result": "accept", "next": "stop"}',
        (True, True),
    ),
    "code": (
        lambda reply: code_in(reply, "python"),
        f"{F}python\nprint(1)\n{F}\nis wrong",
        f"{F}python\nprint(2)\n{F}",
        "print(2)",
    ),
    "code whose draft is left open": (
        lambda reply: code_in(reply, "python"),
        f"{F}python\nprint(1)",
        f"{F}python\nprint(2)\n{F}",
        "print(2)",
    ),
    "answer": (parse_answer, "Answer: 12 or 13.", "Answer: 13", "13"),
}


@pytest.mark.parametrize(("opening", "closing"), MARKS, ids=[opening for opening, _ in MARKS])
@pytest.mark.parametrize("reader", READERS)
def test_a_draft_in_the_thinking_is_not_the_decision(reader: str, opening: str, closing: str) -> None:
    read, draft, decision, result = READERS[reader]
    assert read(f"{opening}\n{draft}\n{closing}\n\n{decision}") == result
    assert read(f"{draft}\n{closing}\n{decision}") == result, "the template has opened it"
    assert read(f"{opening}{draft}\n{closing}{opening}\nOr?\n{closing}\n{decision}") == result, "it thinks twice"
    nothing = read("<think>")
    assert read(f"{opening}\n{draft}") == nothing, "it was cut off"
    assert read(f"{draft}\n{closing}") == nothing, "it says nothing after its thinking"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("<think>a<think>b</think>c</think>d", "d"),
        ("<think>\n<think>a</think>b", "b"),
        ("<thinking>a<reflection>c</reflection>d</thinking><output>b</output>", "b"),
        ("<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>b<|end_of_solution|>", "b"),
        ("<think>a</think>\n</think>\nb", "b"),
        ("<think>a</think>5</think>", "5"),
        ("analysisWe need xassistantfinalb", "b"),
        ("I don't know</think>it's 5", "it's 5"),
        ('He said "hm</think>5', "5"),
        ("5 is it.\n<think>or", "5 is it."),
        ("42<|im_end|>", "42"),
        ('<|channel|>commentary to=functions.x <|constrain|>json<|message|>{"a": 1}<|call|>', '{"a": 1}'),
    ],
)
def test_thinking_in_odd_places(reply: str, said: str) -> None:
    assert without_thinking(reply) == said


@pytest.mark.parametrize(
    "reply",
    [
        'The tag "</think>" closes it.',
        "The tag <think> opens it and </think> closes it.",
        "Answer: the tag `</think>`",
        "Answer: </think>",
        "Answer: <think>",
        f"{F}python\nprint(text.split('</think>')[-1])\n{F}",
        f"{F}xml\n<think>\nhello\n</think>\n{F}",
        f'{F}python\nx = """\n</think>\n"""\n{F}',
        'print("a</think>b")',
        '{"calls": [{"text": "<think>hello</think> bye"}]}',
        "analysis of it",
        "<reasoning>: because\n<tool_name>: python",
    ],
)
def test_a_mark_that_is_talked_about_is_text(reply: str) -> None:
    assert without_thinking(reply) == reply
    assert without_thinking(f"<think>hm, {reply}\n</think>\n{reply}") == reply


@given(st.text(alphabet=st.characters(exclude_characters="<[◁&"), max_size=200))
def test_a_reply_without_a_mark_is_left_as_it_is(text: str) -> None:
    assert "assistantfinal" in text or without_thinking(text) == text.strip()


@given(st.sampled_from(MARKS), st.text(alphabet=st.characters(exclude_characters="<[◁&`\"'"), max_size=200))
def test_no_thought_survives(marks: tuple[str, str], thought: str) -> None:
    opening, closing = marks
    thought = f"hm{thought}"
    assert without_thinking(f"{opening}{thought}\n{closing}\nsaid") == "said"
    assert without_thinking(f"{thought}\n{closing}\nsaid") == "said"
    assert without_thinking(f"{opening}{thought}") == ""
