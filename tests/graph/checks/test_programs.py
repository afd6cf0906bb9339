"""Programs that say themselves that their result means nothing are not run, where the checks are on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import pytest
from langchain_core.tools import BaseTool

from graph import Context, build_graph
from graph.checks.arguments import Proposal
from graph.checks.programs import about_nothing_known, marked_as_made_up, stated_result
from graph.state import State
from tests.graph.conftest import Serve, passages_tool, plan_text
from tools.python import make_python_tool

PYTHON = make_python_tool()


def complains(check: Callable[[Proposal], str | None], code: str, question: str = "q", *results: str) -> bool:
    calls = [{"arguments": {}, "result": result, "error": None, "seconds": 0.0} for result in results]
    turn = {
        "plan": {"tool_name": "look_up", "sub_goal": "", "input": ""},
        "calls": calls,
        "verdict": {"accepted": True},
    }
    state = cast("State", {"question": question, "messages": [], "memory": [turn] if results else []})
    return check(Proposal(PYTHON, [{"code": code}], state)) is not None


@pytest.mark.parametrize(
    "code",
    ["print('John Smith')", "'Paris'", "name = 'Paris'\nprint(f'It is {name}')", "x = 42\nx", "# it is 7\nprint(7)"],
)
def test_a_stated_result_is_no_result(code: str) -> None:
    assert complains(stated_result, code)


@pytest.mark.parametrize(
    "code",
    [
        "-7",
        "2 * 3",
        "print(len('abc'))",
        "x = [3, 1]\nx.sort()\nx",
        "3 > 2",
        "[1, 2][0]",
        "print(f'{255:b}')",
        "print(f'{3.14159:.2f}')",
        "x = 1e3\nprint(f'{x:,.0f}')",
        "print(0b1011)",
        "print(0xFF)",
        "n = 0o17\nprint(n)",
        "print(",
        "",
    ],
)
def test_whatever_computes_is_run(code: str) -> None:
    assert not complains(stated_result, code)


def test_a_fact_may_be_read_from_a_result() -> None:
    assert not complains(stated_result, "locks = 15\nprint(locks)", "How many locks are there?", "It has 15 locks.")
    assert complains(stated_result, "locks = 16\nprint(locks)", "How many locks are there?", "It has 15 locks.")


def test_the_numbers_and_places_of_passages_tell_nothing() -> None:
    passages = (
        "[1] The Vale Canal 7 (notes.jsonl#n-83)\nIt is long.\n[2] Vale (https://vale.example/41)\nIt has 15 locks."
    )
    for told in (7, 15):
        assert not complains(stated_result, f"print({told})", "How many locks are there?", passages)
    for untold in (1, 1000, 83, 41):  # kilometres would be metres
        assert complains(stated_result, f"print({untold})", "How many locks are there?", passages)


RAILWAY = "How fast is a train of the Irrin Railway?"


@pytest.mark.parametrize(
    ("question", "code", "complaint"),
    [
        (RAILWAY, "distance = 100\ntime = 2\nprint(distance / time)", True),
        ("How many crates fit on the 3 ferries together?", "crates = 100\nprint(crates * 2)", True),
        ("How many letters are in the word Mississippi?", "print(len('Mississippi'))", False),
        ("How many prime numbers has Euler below 200?", "print(len([n for n in range(2, 200)]))", False),
        ("How many seconds are there in a day?", "print(24 * 60 * 60)", False),
        (RAILWAY, "import math\nmath.pi", False),
        ("How many days are there in June, July and August together?", "print(30 + 31 + 31)", False),
        ("How much is 1,000.5 of the Irrin crowns?", "whole = 1_000\nprint(whole // 2)", False),
    ],
)
def test_a_program_about_a_name_starts_from_something_that_is_told(question: str, code: str, complaint: bool) -> None:
    assert complains(about_nothing_known, code, question) == complaint
    assert not complains(about_nothing_known, code, question, "Its train takes 2 hours for 100 kilometres.")


ZOO = "How much do two adults and three children pay in the Zoo of Irrin?"


@pytest.mark.parametrize(
    ("question", "code", "complaint"),
    [
        (ZOO, "cost_adult = 10\ncost_child = 5\nprint(2 * cost_adult + 3 * cost_child)", True),
        (ZOO, "adults, children = 2, 3\nprint(adults + children)", False),
        (ZOO, "adults = 2\nchildren = 3\ntotal_pay = 0\nprint(total_pay + adults * children)", False),
        ("How many copies do the 2 Irrin papers sell in a week?", "days_in_week = 7\nprint(2 * days_in_week)", False),
        ("How many days have October 2023 and June 2024?", "october = 31\nprint(october + 30 + 2023 * 0)", False),
    ],
)
def test_a_value_named_for_what_is_asked_about_has_to_be_told(question: str, code: str, complaint: bool) -> None:
    assert complains(about_nothing_known, code, question) == complaint
    assert not complains(about_nothing_known, code, question, "An adult pays 10 crowns, a child 5 crowns.")


PALINDROMES = "How many 3-digit numbers are palindromes?"
PRIMES = """
def is_prime(n):
    if n < 2:
        return False
    return all(n % d for d in range(2, int(n ** 0.5) + 1))
print(sum(n for n in range(100, 1000) if is_prime(n)))"""


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (PALINDROMES, "print(sum(1 for n in range(100, 1000) if str(n) == str(n)[::-1]))"),
        (PALINDROMES, "print(sum(n // 100 == n % 10 for n in range(100, 1000)))"),
        ("What is the sum of all 3-digit primes?", PRIMES),
        ("How many 3-digit squares are there?", "print(sum(1 for n in range(10, 32)))"),
        (
            "What is the sum of the Fibonacci numbers below a million?",
            "a, b, s = 0, 1, 0\nwhile a < 10**6:\n    s += a\n    a, b = b, a + b\nprint(s)",
        ),
        ("How many seconds are in a Julian year?", "print(365.25 * 86400)"),
        ("How many distinct permutations has Mississippi?", "w = 'Mississippi'\nprint(len(w) // 2)"),
    ],
)
def test_an_honest_computation_without_a_told_value_is_run(question: str, code: str) -> None:
    assert not complains(about_nothing_known, code, question)


@pytest.mark.parametrize(
    "last",
    [
        "print(distance / time)",
        "print(f'{distance / time} km/h')",
        "print('Answer:', distance / time)",
        "print('Speed of the train:', distance / time)",
        "print('Speed of the train:', 100 / 2)",
    ],
)
def test_a_label_tells_nothing(last: str) -> None:
    assert complains(about_nothing_known, f"distance = 100\ntime = 2\n{last}", RAILWAY)


@pytest.mark.parametrize(("tools", "complaint"), [([PYTHON], False), ([PYTHON, passages_tool()], True)])
def test_a_search_is_asked_for_only_where_there_is_one(tools: list[BaseTool], complaint: bool) -> None:
    state = cast("State", {"question": RAILWAY, "messages": [], "memory": []})
    proposal = Proposal(PYTHON, [{"code": "print(100 / 2)"}], state, tools)
    assert (about_nothing_known(proposal) is not None) == complaint


@pytest.mark.parametrize(
    ("code", "marked"),
    [
        ("rate = 10  # Example value\nprint(rate * 7)", True),
        ("length = 1200  # placeholder, replace with the actual length\nprint(length / 1000)", True),
        ("data = {\n    'Lyon': 43,  # hypothetical\n}\nprint(data)", True),
        ("founder = 'Sophie'  # made-up\nprint(len(founder))", True),
        ("area = 0  # assuming that it is not given\nprint(905 - area)", True),
        ("# For example, 2 + 2\nprint(2 + 2)", False),
        ("example_value = 'a'\nprint(example_value * 3)", False),
        ("# Replace with underscores\nprint('a-b'.replace('-', '_'))", False),
        ("text = text.replace('-', '_')  # replace with underscores", False),
        ("# hypothetical question: what if\nprint(2**10)", False),
        ("# Example data\nd = [3, 5]\nprint(sum(d))", False),
        ("print('# placeholder', 7)", False),
        ("rate = 0.07  # the example rate of the question\nprint(rate * 900)", False),
        ("rate = 10  # Example value\nprint(", False),
    ],
)
def test_a_value_that_is_marked_as_made_up_is_found_on_its_line(code: str, marked: bool) -> None:
    assert complains(marked_as_made_up, code, "What is 7 % of 900?") == marked


@pytest.mark.parametrize(("checks", "calls"), [("on", 0), ("off", 1)])
@pytest.mark.parametrize(
    ("code", "told"), [("print(7)", "computes nothing"), ("n = 7  # placeholder\nprint(n * 2)", "made up")]
)
async def test_the_checks_of_programs_can_be_switched_off(
    serve: Serve, checks: Literal["on", "off"], calls: int, code: str, told: str
) -> None:
    server = serve(planner=plan_text("python"), executor=f"```python\n{code}\n```")
    context = Context(model=server.spec, checks=checks, max_turns=1)
    state = await build_graph(tools=["python"]).ainvoke({"question": "How many days has a week?"}, context=context)
    [turn] = state["memory"]
    assert len(turn["calls"]) == calls
    assert (told in turn["observation"]) == (calls == 0)
