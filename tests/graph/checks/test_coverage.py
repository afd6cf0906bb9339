"""All of a question must have been used, before its answer is believed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph import Context, build_graph
from graph.checks.coverage import ASKS_FOR_PROSE, unanswered_part, unused_number
from graph.checks.evidence import Evidence
from tests.graph.conftest import Serve, calls_text, judged, passages_tool, plan_text, prompts


def computed(question: str, *inputs: str, results: tuple[str, ...] = ()) -> str | None:
    return unused_number("", Evidence(question, results, (), passages=False, inputs=inputs))


@pytest.mark.parametrize(
    ("question", "code", "unused"),
    [
        ("What is 487 * 263 - 1999?", "print(487 * 263)", "1999"),
        ("What is 487 * 263 - 1999?", "print(487 * 263 - 1999)", None),
        ("What is 17 * 23 - 5?", "17 * 23", "5"),
        ("How many hours are there from 9 am to 5 p.m.?", "17 - 9", None),
        ("How much is 2,500 at 3.5 percent after 6 years?", "print(2500 * 1.035)", "6"),
        ("How much is 2,500 at 3.5 percent after 6 years?", "print(2_500 * 1.035 ** 6)", None),
        ("How many of the 1.2 million are left after -4 %?", "print(1200000 * 0.96)", None),
        ("How many primes are there between 500 and 700?", "print(len([n for n in range(501, 700) if p(n)]))", None),
        ("Solve x**2 = 0 for 1 x.", "solve(x**2)", None),
        ("Which is 7?\nA) 17\nB) 19", "print(3)", None),
        ("What is the largest of 13,7,15?", "print(max(13, 7, 15))", None),
        ("On which day did 4.9.1923 fall?", "print(date(1923, 9, 4))", None),
        ("On which day did 4.9.1923 fall?", "print(date(2024, 12, 25))", "4.9.1923"),
        ("What is twice 12,34,567?", "print(2 * 1234567)", None),
        ("What is twice 1'234'567?", "print(2 * 1234567)", None),
        ("What is twice 1'234'567?", "print(2 * 777)", "1'234'567"),
        ("What is twice 3,50?", "print(2 * 3.5)", None),
        ("What runs at 192.168.0.1?", "192.168.0.1", None),
        ("What changed in Python 3.10.1?", "print(77)", "3.10.1"),
    ],
)
def test_a_number_that_was_left_out_is_named(question: str, code: str, unused: str | None) -> None:
    complaint = computed(question, code)
    assert complaint is None if unused is None else f"the question's {unused} was not used" in (complaint or "")


def test_honest_programs_use_all_numbers() -> None:
    lines = Path(__file__).with_name("programs.jsonl").read_text(encoding="utf-8").splitlines()
    honest = [case for case in map(json.loads, lines) if case["kind"] == "honest"]
    assert [case for case in honest if computed(case["question"], case["code"], results=tuple(case["results"]))] == []


@given(
    st.lists(st.integers(2, 10**9), min_size=1),
    st.sampled_from(["{}", "{:,}"]),
    st.sampled_from(["{}", "{:_}", "{}.0"]),
)
def test_numbers_that_were_used_are_never_missed(numbers: list[int], told: str, written: str) -> None:
    question = "What is " + " and ".join(map(told.format, numbers)) + "?"
    assert computed(question, f"print({', '.join(map(written.format, numbers))})") is None


def read(question: str, *passages: str, old: tuple[str, ...] = ()) -> str | None:
    return unanswered_part("x", Evidence(question, passages, old, passages=True))


BORN = "In which village was the founder of Port Ellery born?"
FOUNDER = "Port Ellery was founded by Agnes Corvell."


def test_words_that_no_result_speaks_of_are_named() -> None:
    assert read(BORN, FOUNDER) == "no result speaks of 'born'"
    assert read(BORN, FOUNDER, "She was born in Lisken.") is None
    assert read(BORN, FOUNDER, old=("something else",)) is None  # a second search has its own reasons
    assert read("Who founded Port Ellery?", FOUNDER) is None
    assert read("Which of these founded it?\nA) Agnes\nB) Edwin", FOUNDER) is None


@pytest.mark.parametrize(
    ("form", "prose"),
    [
        ("Answer in one sentence.", True),
        ("Reply in two full sentences.", True),
        ("Write a summary of it.", True),
        ("Give a short explanation.", True),
        ("Give a description in some detail.", True),
        ("Summarise it in a paragraph.", True),
        ("Who was sentenced for it?", False),
        ("Who first described it?", False),
    ],
)
def test_the_form_of_an_answer_is_asked_of_the_generator_and_of_no_result(form: str, prose: bool) -> None:
    assert (ASKS_FOR_PROSE.search(form) is not None) == prose
    if prose:
        assert read(f"Who founded Port Ellery? {form}", FOUNDER) is None


async def test_half_a_computation_is_not_the_answer(serve: Serve) -> None:
    server = serve(
        planner=[plan_text("python"), plan_text("python", "find the rest")],
        executor=["```python\nprint(487 * 263)\n```", "```python\nprint(128081 - 1999)\n```"],
        verifier=[judged("128081"), judged("unknown", "128081 - 1999"), judged("126082")],
    )
    state = await build_graph(tools=["python"]).ainvoke(
        {"question": "What is 487 * 263 - 1999?"}, context=Context(model=server.spec, checks="on")
    )
    half, whole = state["memory"]
    assert (half["verdict"]["accepted"], half["verdict"]["stop"]) == (True, False)
    assert "the question's 1999 was not used" in prompts(server, "verifier")[1][-1][1]
    assert whole["calls"][0]["result"].strip() == "126082"
    assert whole["verdict"]["answer"] == "126082"


async def test_a_complaint_about_the_answer_does_not_reject_the_step(serve: Serve) -> None:
    half = json.loads(judged("unknown", "391 - 5"))
    server = serve(
        planner=[plan_text("python"), plan_text("python", "find the rest")],
        executor=["```python\nprint(17 * 23)\n```", "```python\nprint(391 - 5)\n```"],
        verifier=[judged("391"), json.dumps({**half, "result": "reject"}), judged("386")],
    )
    state = await build_graph(tools=["python", "generalist"]).ainvoke(
        {"question": "What is 17 * 23 - 5?"}, context=Context(model=server.spec, checks="on")
    )
    turn = state["memory"][0]
    assert (turn["verdict"]["accepted"], turn["verdict"]["stop"]) == (True, False)
    assert "Still missing: 391 - 5" in turn["observation"]
    assert "Choose another tool" not in turn["observation"]
    assert state["memory"][1]["verdict"]["answer"] == "386"


async def test_the_first_of_two_hops_is_not_the_answer(serve: Serve) -> None:
    server = serve(
        planner=[plan_text("look_up"), plan_text("look_up", "find the rest")],
        executor=[calls_text({"name": "film"}), calls_text({"name": "place"})],
        verifier=[judged("Hong Kong"), judged("unknown", "when Hong Kong was taken"), judged("1842")],
    )
    state = await build_graph(tools=[passages_tool()]).ainvoke(
        {"question": "In which war was the place taken that the film Fist Power is from?"},
        context=Context(model=server.spec, checks="on"),
    )
    assert "no result speaks of 'war'" in prompts(server, "verifier")[1][-1][1]
    assert "Still missing: when Hong Kong was taken" in prompts(server, "planner")[1][-1][1]
    assert [turn["verdict"]["stop"] for turn in state["memory"]] == [False, True]
