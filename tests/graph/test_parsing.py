# ruff: noqa: E501 - the variants are replies to the letter
from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.parsing import find_json, match_tool, parse_answer, parse_plan, parse_verdict, reads_as_stop

TOOLS = ("python", "wikipedia_search", "web_search")

GOOD_PLANS = {
    "plain": "Justification: because\nContext: 3 apples\nSub-Goal: count them\nTool Name: python",
    "spelled Sub Goal": "Justification: because\nContext: 3 apples\nSub Goal: count them\nTool Name: python",
    "lower case": "justification: because\ncontext: 3 apples\nsub-goal: count them\ntool name: python",
    "snake case": "justification: because\ncontext: 3 apples\nsub_goal: count them\ntool_name: python",
    "bold labels": "**Justification:** because\n**Context:** 3 apples\n**Sub-Goal:** count them\n**Tool Name:** python",
    "bold, colon outside": "**Justification**: because\n**Context**: 3 apples\n**Sub-Goal**: count them\n**Tool Name**: python",
    "headings": "### Justification: because\n### Context: 3 apples\n### Sub-Goal: count them\n### Tool Name: python",
    "numbered": "1. Justification: because\n2. Context: 3 apples\n3. Sub-Goal: count them\n4. Tool Name: python",
    "bullets": "- Justification: because\n- Context: 3 apples\n- Sub-Goal: count them\n- Tool Name: python",
    "angle brackets": "<justification>: because\n<context>: 3 apples\n<sub_goal>: count them\n<tool_name>: python",
    "tags": "<justification>because</justification><context>3 apples</context>\n"
    "<sub_goal>count them</sub_goal><tool_name>python</tool_name>",
    "backticks": "Justification: because\nContext: 3 apples\nSub-Goal: count them\nTool Name: `python`",
    "trailing remark": "Justification: because\nContext: 3 apples\nSub-Goal: count them\nTool Name: python (to be exact)",
    "trailing text": "Justification: because\nContext: 3 apples\nSub-Goal: count them\nTool Name: python\n\nThis will work.",
    "called a tool": "Justification: because\nContext: 3 apples\nSub-Goal: count them\nTool: the Python tool.",
    "fenced": "```\nJustification: because\nContext: 3 apples\nSub-Goal: count them\nTool Name: python\n```",
    "value on next line": "Justification:\nbecause\nContext:\n3 apples\nSub-Goal:\ncount them\nTool Name:\npython",
    "thinking first": "<think>Tool Name: web_search?</think>\nJustification: because\nContext: 3 apples\n"
    "Sub-Goal: count them\nTool Name: python",
    "json": json.dumps(
        {"justification": "because", "context": "3 apples", "sub_goal": "count them", "tool_name": "python"}
    ),
    "fenced json": "Here it is:\n```json\n"
    + json.dumps({"Justification": "because", "Context": "3 apples", "Sub-Goal": "count them", "Tool Name": "Python"})
    + "\n```\nGood luck!",
}


@pytest.mark.parametrize("reply", GOOD_PLANS.values(), ids=GOOD_PLANS.keys())
def test_every_variant_of_a_good_plan_is_read(reply: str) -> None:
    plan = parse_plan(reply, TOOLS)
    assert plan["error"] is None
    assert (plan["justification"], plan["context"], plan["sub_goal"]) == ("because", "3 apples", "count them")
    assert plan["tool_name"] == "python"
    assert plan["reply"] == reply


@pytest.mark.parametrize(
    ("reply", "tool", "given"),
    [
        ("Tool: python\nInput: print(1)", "python", "print(1)"),
        ("python\nInput: 902 ** 29 % 97", "python", "902 ** 29 % 97"),
        ("Tool: python\nInput: ```python\nx = 1\nprint(x)\n```", "python", "x = 1\nprint(x)"),
        ("Tool: python\nInput: for i in range(2):\n    tool: int = i\nprint(i)", "python",
         "for i in range(2):\n    tool: int = i\nprint(i)"),
        ("**Tool:** `web_search`\n**Input:** `capital of Peru`", "web_search", "capital of Peru"),
    ],
)  # fmt: skip
def test_direct_input_is_read_to_the_letter(reply: str, tool: str, given: str) -> None:
    plan = parse_plan(reply, TOOLS)
    assert (plan["error"], plan["tool_name"], plan["input"]) == (None, tool, given)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("", "plan"),
        ("I think we should compute it with python.", "plan"),
        ("Justification: x\nSub-Goal: y", "plan"),
        ("Tool Name: calculator", "unknown_tool"),
        ("Tool Name: either python or web_search", "unknown_tool"),
        ('{"tool_name": 7}', "unknown_tool"),
    ],
)
def test_a_tool_is_never_guessed(reply: str, kind: str) -> None:
    plan = parse_plan(reply, TOOLS)
    assert plan["error"] is not None
    assert plan["error"]["kind"] == kind


def test_an_unknown_tool_is_told_with_the_known_ones() -> None:
    error = parse_plan("Tool Name: calculator", TOOLS)["error"]
    assert error is not None
    assert "'calculator'" in error["message"]
    assert "wikipedia_search" in error["message"]


def test_a_longer_name_wins_over_one_it_contains() -> None:
    assert match_tool("web search pro", ("web_search", "web_search_pro")) == "web_search_pro"
    assert match_tool("use Web-Search please", TOOLS) == "web_search"


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        ("STOP", True),
        ("Conclusion: STOP", True),
        ("We can stop here.", True),
        ("There is no need to continue.", True),
        ("We should not continue; stop.", True),
        ("CONTINUE", False),
        ("We should not stop yet.", False),
        ("We shouldn't stop yet", False),
        ("Do not stop: continue", False),
        ("It would be premature to stop.", False),
        ("We cannot, at this point, stop.", False),
        ("continue rather than stop", False),
        ("stop or continue", None),
        ("", None),
        ("All good.", None),
    ],
)
def test_stop_is_read_with_its_negation(text: str, stop: bool | None) -> None:
    assert reads_as_stop(text) is stop


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"reason": "r", "result": "accept", "next": "stop"}', (True, True, "r")),
        ('{"reason": "r", "result": "reject", "next": "continue"}', (False, False, "r")),
        ('```json\n{"analysis": "r", "verdict": "accept", "decision": "CONTINUE"}\n```', (True, False, "r")),
        ('{"reason": "r", "accepted": true, "stop": false}', (True, False, "r")),
        ("Reason: r\nResult: reject\nNext: continue", (False, False, "r")),
        ("Explanation: r\nConclusion: We should not stop yet", (True, False, "r")),
    ],
)
def test_verdicts_are_read(reply: str, verdict: tuple[bool, bool, str]) -> None:
    found = parse_verdict(reply)
    assert not isinstance(found, str)
    assert (found.accepted, found.stop, found.reason) == verdict


@pytest.mark.parametrize(
    ("fields", "judgement"),
    [
        ({"missing": "the year.", "answer": "1900"}, (True, False, "r", "", "the year")),
        ({"missing": "Nothing.", "answer": "1900"}, (True, True, "r", "1900", "")),
        ({"missing": "nothing", "answer": "unknown"}, (True, False, "r", "", "")),
        ({"missing": "none"}, (True, True, "r", "", "")),
    ],
)
def test_a_stop_that_contradicts_itself_goes_on(fields: dict[str, str], judgement: tuple[object, ...]) -> None:
    assert parse_verdict(json.dumps({"reason": "r", "result": "accept", "next": "stop", **fields})) == judgement


def test_an_undecided_verdict_is_a_complaint() -> None:
    assert isinstance(parse_verdict("It all looks fine to me."), str)
    assert isinstance(parse_verdict('{"reason": "stop", "result": "accept"}'), str)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Answer: 42", "42"),
        ("**Answer:** 42", "42"),
        ("Some steps.\nFinal answer: Paris", "Paris"),
        ("Answer: draft\nNo.\nAnswer: Rome", "Rome"),
        ("<think>Answer: 1</think>Answer: 2", "2"),
        ("Paris", "Paris"),
        ("Answer:\nParis", "Paris"),
    ],
)
def test_answers_are_read(reply: str, answer: str) -> None:
    assert parse_answer(reply) == answer


@given(st.text(max_size=400))
def test_no_text_breaks_a_parser(text: str) -> None:
    plan = parse_plan(text, TOOLS)
    assert (plan["error"] is None) == (plan["tool_name"] in TOOLS)
    assert isinstance(parse_answer(text), str)
    parse_verdict(text)
    find_json(text)


@given(st.text(alphabet='{}[]":,abc \n`*<>#-.', max_size=300))
def test_no_punctuation_breaks_a_parser(text: str) -> None:
    plan = parse_plan(text, TOOLS)
    assert (plan["error"] is None) == (plan["tool_name"] in TOOLS)
    assert find_json(text) is None or isinstance(find_json(text), dict)
