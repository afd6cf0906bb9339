"""Every check takes time in proportion to what it reads: a long text must not hold up the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import pytest
from langchain_core.messages import HumanMessage

from graph.checks import (
    ANSWER_CHECKS,
    ARGUMENT_CHECKS,
    EXCERPTS,
    FORESEEN_INPUTS,
    FORESEEN_STEPS,
    PLAN_CHECKS,
    STEP_CHECKS,
    VERDICT_CHECKS,
)
from graph.checks.arguments import Proposal, invented_fact
from graph.checks.evidence import Evidence
from graph.checks.plans import Planned
from graph.checks.steps import Step
from graph.state import Failure, Plan, State, ToolCall, Turn, Verdict
from tests.graph.conftest import passages_tool
from tools.python import make_python_tool

CHARS = 5_000
TIMES = 4
SHAPES = (
    ("What is wrong here: ", "red, blue or green "),
    ("Sort ", "ham and eggs "),
    ("Which are they: ", "Smith J. Jones K. "),
    ("Who is the oldest of ", "Alice Moss, Bob Hill's and 1,234.5 "),
    ("How many are ", "1 "),
    ("How many are ", "12.5%, "),
    ("", "\n"),
    ("1", "."),
    ("", "a “"),
)


def of_all_checks(text: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each check, ready to read a long question, a long result and a long program."""
    tools = [passages_tool(plain_words=True), make_python_tool()]
    code = f"text = {text!r}\nprint([{'17, ' * (len(text) // 4)}], len(text))"
    plan = Plan(
        justification="", context="x", sub_goal="Find Ada 7.5", tool_name="look_up", input="", reply="", error=None
    )
    found = ToolCall(arguments={"name": text}, result=text, error=None, seconds=0.0)
    ran = ToolCall(arguments={"code": code}, result="7", error=None, seconds=0.0)
    verdict = Verdict(accepted=True, stop=False, reason="", answer="", missing="", source="model")
    turn = Turn(reply="", plan=plan, calls=[found], error=None, verdict=verdict, observation="")
    program: Plan = {**plan, "tool_name": "python"}
    state = State(question=text, messages=[HumanMessage(text)], memory=[turn], plan=plan, calls=[found])
    computing: State = {**state, "plan": program, "calls": [ran]}
    evidences = [
        Evidence.of(state, tools),
        Evidence.of(computing, tools),
        Evidence.of({**computing, "memory": [], "calls": []}, tools, Failure(kind="arguments", message="m")),
    ]
    stopped: Verdict = {**verdict, "stop": True, "reason": "it is 7.5 of 8", "answer": "Ada, 7.5"}
    rejected: Verdict = {**stopped, "accepted": False, "answer": text}
    for evidence in evidences:
        for foresee in FORESEEN_STEPS:
            yield str(foresee), lambda f=foresee, e=evidence: f(e)  # type: ignore[misc]
        for answer_check in ANSWER_CHECKS:
            yield str(answer_check), lambda f=answer_check, e=evidence: f("Ada, 7.5", e)  # type: ignore[misc]
        for verdict_check in VERDICT_CHECKS:
            for one in (stopped, rejected):
                yield str(verdict_check), lambda f=verdict_check, v=one, e=evidence: f(v, e)  # type: ignore[misc]
    for tool, step, now in ((tools[0], plan, state), (tools[1], program, {**computing, "memory": []})):
        planned = Planned(step, tool, cast("State", now), tools)
        for plan_check in PLAN_CHECKS:
            yield str(plan_check), lambda f=plan_check, p=planned: f(p)  # type: ignore[misc]
        values = {"name": text} if tool is tools[0] else {"code": code}
        proposal = Proposal(tool, [values], cast("State", now), tools)
        for argument_check in ARGUMENT_CHECKS:
            yield str(argument_check), lambda f=argument_check, p=proposal: f.complaint(p)  # type: ignore[misc]
    for step_check in STEP_CHECKS:
        yield str(step_check), lambda f=step_check: f(Step(plan, [found], [turn]))  # type: ignore[misc]
    for excerpt in EXCERPTS:
        yield str(excerpt), lambda f=excerpt: f(computing, tools)  # type: ignore[misc]
    for foresee_input in FORESEEN_INPUTS:
        yield str(foresee_input), lambda f=foresee_input: f(plan, tools[0], state)  # type: ignore[misc]


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


@pytest.mark.parametrize(("start", "part"), SHAPES)
def test_every_check_is_linear(start: str, part: str) -> None:
    short, long = (start + part * (chars // len(part)) for chars in (CHARS, TIMES * CHARS))
    for (name, on_short), (_, on_long) in zip(of_all_checks(short), of_all_checks(long), strict=True):
        allowed = 2 * TIMES * seconds(on_short) + 0.1
        assert min(seconds(on_long), seconds(on_long)) < allowed, name


def table_of(count: int) -> Proposal:
    """A question with a table of different numbers, and a program with as many others."""
    numbers = [f"{count + 17 * n}.{n:03}" for n in range(1, count)]
    question = f"They are in percent, millions and kilometres: {', '.join(numbers)}. How many tonnes are it together?"
    code = f"print(sum([{', '.join(f'{float(number) / 7:.5f}' for number in numbers)}]))"
    return Proposal(make_python_tool(), [{"code": code}], State(question=question, messages=[], memory=[]))


def test_many_values_are_compared_with_many_amounts_in_linear_time() -> None:
    few, many = (partial(invented_fact, table_of(count)) for count in (200, 200 * TIMES))
    on_few, on_many = (min(seconds(work) for _ in range(2)) for work in (few, many))
    assert on_many < 2 * TIMES * on_few
