"""Expressions worth 24, and all others."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.scorers import score
from evals.scorers.game24 import NotAnExpressionError, evaluate, solution

from .asked import task


@pytest.mark.parametrize(
    "prediction",
    [
        "6/(1-3/4)",
        "6/(1-3/4) = 24",
        "6 ÷ (1 − 3 ÷ 4)",
        "24 = 6/(1-3/4)",
        "6/(1-3/4) = 6/(1/4) = 24".replace("6/(1/4)", "24"),
        "\\frac{6}{1-\\frac{3}{4}}",
        "$\\dfrac{6}{\\left(1-\\dfrac{3}{4}\\right)} = 24$",
        "The expression is **6/(1-3/4)**.",
        "First 3/4 = 0.75, then 1/4.\nAnswer: 6 / (1 - 3/4)",
    ],
)
def test_game24_accepts_right_expressions(prediction: str) -> None:
    assert score(task("gameof24", "6/(1-3/4)"), prediction).correct


@pytest.mark.parametrize(
    "prediction",
    [
        "6*4*1",
        "6*4*1+3-3",
        "6*(3+1)",
        "24",
        "64-31-9",
        "6/(1-3/4) = 25",
        "6**(1+3)/4",
        "6/(1-1)",
        "__import__('os').system('true')",
        "(" * 5000,
        "-" * 250 + "1",
        "1" * 10_000,
    ],
)
def test_game24_refuses_everything_else(prediction: str) -> None:
    assert not score(task("gameof24", "6/(1-3/4)"), prediction).correct


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> str:
    if depth == 0 or draw(st.booleans()):
        return str(draw(st.integers(1, 13)))
    left, right = draw(expressions(depth - 1)), draw(expressions(depth - 1))
    return f"({left}{draw(st.sampled_from('+-*/'))}{right})"


@given(expressions())
def test_game24_arithmetic_equals_pythons(expression: str) -> None:
    as_fractions = "".join(f"Fraction({part})" if part.isdigit() else part for part in _split(expression))
    try:
        expected = eval(as_fractions, {"Fraction": Fraction})
    except ZeroDivisionError:
        with pytest.raises(NotAnExpressionError):
            evaluate(expression)
        return
    assert evaluate(expression)[0] == expected


def _split(expression: str) -> list[str]:
    spaced = "".join(f" {sign} " if sign in "+-*/()" else sign for sign in expression)
    return spaced.split()


@given(st.permutations([3, 3, 8, 8]), st.lists(st.sampled_from("+-*/"), min_size=3, max_size=3))
def test_game24_verdict_is_the_value(numbers: list[int], signs: list[str]) -> None:
    a, b, c, d = numbers
    expression = f"{a}{signs[0]}({b}{signs[1]}({c}{signs[2]}{d}))"
    puzzle = task("gameof24", "8/(3-8/3)", metadata={"numbers": (3, 3, 8, 8)})
    try:
        expected = evaluate(expression)[0] == 24
    except NotAnExpressionError:
        expected = False
    assert score(puzzle, expression).correct == expected


def test_game24_accepts_solutions_that_are_not_listed() -> None:
    puzzle = task("gameof24", "4*6*1*1", metadata={"numbers": (1, 1, 4, 6)})
    found = [
        expression
        for (a, b, c, d), (p, q, r) in product(permutations("1146"), product("+-*/", repeat=3))
        if score(puzzle, expression := f"(({a}{p}{b}){q}{c}){r}{d}").correct
    ]
    assert len(found) > 10


WORTH_24 = st.permutations([1, 2, 3, 4]).map(lambda numbers: "*".join(map(str, numbers))) | st.sampled_from(
    ["(1+3)*(2+4)", "(4+2)*(3+1)", "4*(1+2+3)", "4/(1-(2+3)/6)"]
)
AROUND = st.sampled_from([
    "{}", "{}.", "The expression is {}.", "**{}**", "${}$", "`{}`", "Answer: {}", "{} = 24", "24 = {}", "{} = 24!",
    "We use each number once: {} = 24.", "{}, which is 24", "Here it is:\n* {}\n* each number once",
    "It is not 4*4, so {}", "{} - each number once", "{} → 24",
    "I tried 4*4 and that is wrong.\nNow {} is right", "\\boxed{{{}}}", "<answer>{}</answer>", '"{}"', "{} equals 24",
])  # fmt: skip
OF_ANOTHER = st.sampled_from([
    "sqrt({})", "log({})", "sin ({})", "√({})", "({})^2", "({})**2", "({})²", "({})!", "{} % 7", "{} mod 7", "{}.5",
    "{},5", "1.{}", "0,{}", "x*{}", "x + {}", "{} - x", "{} + y", "2^{}", "2**{}", "2 ** ({})", "{} / \\sqrt{{4}}",
    "\\sqrt{{{}}}", "{}e1", "{}x", "{}°", "{} squared", "half of {}", "the square root of {}", "{} choose 2", "{}?",
    "{} to the power of 2", "{} ≠ 24", "{} != 24", "{} < 24", "{} = x", "{} = 24.5", "int({})", "{} or 5*5",
    "{} is not 24", "It is not {}", "I doubt that {} is 24", "{}. Wait, that is wrong.", "{}, which is false",
    "5*5 or {}",
])  # fmt: skip


@given(WORTH_24, AROUND)
def test_game24_finds_the_expression_among_words(expression: str, around: str) -> None:
    puzzle = task("gameof24", "1*2*3*4", metadata={"numbers": _numbers(expression)})
    assert score(puzzle, around.format(expression)).correct


@given(WORTH_24, OF_ANOTHER)
def test_game24_takes_no_expression_out_of_another_one(expression: str, altered: str) -> None:
    puzzle = task("gameof24", "1*2*3*4", metadata={"numbers": _numbers(expression)})
    assert not score(puzzle, altered.format(expression)).correct
    assert not score(puzzle, f"The answer is {altered.format(expression)}").correct


def _numbers(expression: str) -> tuple[int, ...]:
    return tuple(int(sign) for sign in expression if sign.isdigit())


@pytest.mark.parametrize(
    ("numbers", "prediction"),
    [((1, 1, 3, 8), "8*3*1*1.5"), ((1, 2, 3, 4), "sqrt(4)*3*2*1"), ((1, 2, 3, 4), "4**(3*2)*1")],
)
def test_game24_refuses_what_is_cut_out_of_something_else(numbers: tuple[int, ...], prediction: str) -> None:
    assert not score(task("gameof24", "4*6", metadata={"numbers": numbers}), prediction).correct


@given(st.lists(st.integers(1, 13), min_size=4, max_size=4))
def test_a_solution_uses_the_four_numbers_and_is_worth_24(numbers: list[int]) -> None:
    expression = solution(numbers)
    if expression is not None:
        assert score(task("gameof24", "", metadata={"numbers": numbers}), expression).exact


@pytest.mark.parametrize(("numbers", "solvable"), [((3, 3, 8, 8), True), ((1, 5, 5, 5), True), ((1, 1, 1, 1), False)])
def test_there_is_a_solution_or_none(numbers: tuple[int, ...], solvable: bool) -> None:
    assert (solution(numbers) is not None) is solvable
