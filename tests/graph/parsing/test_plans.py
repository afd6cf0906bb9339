# ruff: noqa: E501 - the variants are replies to the letter
from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.parsing import parse_plan

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
    "fenced amid prose": "My step:\n~~~\nJustification: because\nContext: 3 apples\nSub-Goal: count them\nTool Name: python\n~~~\nDone.",
    "thinking closed only": "Tool Name: web_search?\n</think>\nJustification: because\nContext: 3 apples\n"
    "Sub-Goal: count them\nTool Name: python",
    "single quotes": "{'justification': 'because', 'context': '3 apples', 'sub_goal': 'count them', 'tool_name': 'python',}",
    "a list of steps": json.dumps(
        [
            {"justification": "because", "context": "3 apples", "sub_goal": "count them", "tool_name": "python"},
            {"justification": "then", "context": "", "sub_goal": "look it up", "tool_name": "web_search"},
        ]
    ),
    "a mended object": '{"tool_name": "web_search", "sub_goal": "x"}\nNo:\n'
    + json.dumps({"justification": "because", "context": "3 apples", "sub_goal": "count them", "tool_name": "python"}),
    "bold lines": "**Justification: because**\n**Context: 3 apples**\n**Sub-Goal: count them**\n**Tool Name: python**",
    "input before the tool": "Justification: because\nContext: 3 apples\nSub-Goal: count them\nInput: 1 + 2\nTool Name: python",
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
        ('{"tool_name": ["python"], "input": {"code": "print(1)"}}', "python", "print(1)"),
        ("Tool：python\nInput：print(1)", "python", "print(1)"),
        ("Tool: python\nInput: ```python\nx = 1\nprint('```', x)\n```", "python", "x = 1\nprint('```', x)"),
        ("```\nTool: python\nInput: print(1)\n```", "python", "print(1)"),
        ("Tool: python\nInput:\n~~~py\ntool = 1\nprint(tool)\n~~~", "python", "tool = 1\nprint(tool)"),
        ('Tool: python\nInput: {"tool": "web_search"}', "python", '{"tool": "web_search"}'),
        ('<tool_call>{"name": "python", "arguments": {"code": "print(1)"}}</tool_call>', "python", "print(1)"),
        ('{"function": {"name": "python", "arguments": "{\\"code\\": \\"print(1)\\"}"}}', "python", "print(1)"),
        ("Tool: python\nInput: ```python\nx = 1\nprint(x)\n```", "python", "x = 1\nprint(x)"),
        ("Tool: python\nInput: for i in range(2):\n    tool: int = i\nprint(i)", "python",
         "for i in range(2):\n    tool: int = i\nprint(i)"),
        ("Input: print(1)\nTool: python", "python", "print(1)"),
        ("Reason: r\nCode:\nprint(1)\nprint(2)\nTool: python", "python", "print(1)\nprint(2)"),
        ("**Tool:** `web_search`\n**Input:** `capital of Peru`", "web_search", "capital of Peru"),
    ],
)  # fmt: skip
def test_direct_input_is_read_to_the_letter(reply: str, tool: str, given: str) -> None:
    plan = parse_plan(reply, TOOLS)
    assert (plan["error"], plan["tool_name"], plan["input"]) == (None, tool, given)


@pytest.mark.parametrize("label", ["Input", "Code", "Arguments"])
def test_a_line_of_the_context_may_look_like_an_input(label: str) -> None:
    plan = parse_plan(f"Context: airport\n{label}: LHR\nSub-Goal: find it\nTool Name: web_search", TOOLS)
    assert (plan["error"], plan["context"], plan["sub_goal"]) == (None, f"airport\n{label}: LHR", "find it")
    assert (plan["tool_name"], plan["input"]) == ("web_search", "")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("", "plan"),
        ("I think we should compute it with python.", "plan"),
        ("Justification: x\nSub-Goal: y", "plan"),
        ("Tool Name: calculator", "unknown_tool"),
        ("Tool Name: either python or web_search", "unknown_tool"),
        ("Tool Name: python or web_search", "unknown_tool"),
        ("Tool Name: python-repl", "unknown_tool"),
        ('{"tool_name": 7}', "unknown_tool"),
        ("<think>Tool Name: python", "plan"),
        ("Tool Name: python\n</think>", "plan"),
        ('{"tool_name": "python", "sub_goal": "cut o', "plan"),
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


def test_a_name_that_two_tools_could_bear_is_told_as_such() -> None:
    error = parse_plan("Tool Name: GetUser", ("get-user", "get_user"))["error"]
    assert error is not None
    assert "get-user or get_user" in error["message"]


@given(st.text(max_size=400) | st.text(alphabet='{}[]":,abc \n`*<>#-.', max_size=300))
def test_no_text_breaks_the_parser(text: str) -> None:
    plan = parse_plan(text, TOOLS)
    assert (plan["error"] is None) == (plan["tool_name"] in TOOLS)
