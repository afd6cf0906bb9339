"""Each scorer on the spellings it must accept and on the near misses it must not."""

from __future__ import annotations

import time
from fractions import Fraction
from itertools import permutations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.scorers import SCORERS, score
from evals.scorers.game24 import NotAnExpressionError, evaluate
from evals.scorers.match import token_f1
from evals.scorers.maths import MathWorker
from evals.task import Task
from graph.errors import ConfigError

OPTIONS = ("Dementia", "Opioid intoxication", "Delirium", "Urinary tract infection")


def task(scorer: str, *answers: str, **more: Any) -> Task:
    if scorer == "choice":
        more.setdefault("choices", OPTIONS)
    if scorer == "gameof24":
        more.setdefault("metadata", {"numbers": (1, 3, 4, 6)})
    return Task("t", "A question?", answers, scorer=scorer, **more)


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        ("1,335,907", "1335907"),
        ("22", "twenty-two"),
        ("206", "two hundred and six"),
        ("12th", "twelfth"),
        ("third-largest", "3rd largest"),
        ("about $1.18 trillion", "about 1,180,000,000,000 dollars"),
        ("$59,039", "59039"),
        ("92 percent", "92 %"),
        ("320 km/h", "320 kilometres per hour"),
        ("310 square kilometers", "310 km²"),
        ("April 30, 1971", "30 April 1971"),
        ("30 April 1971", "1971-04-30"),
        ("27 January 1974", "on Sunday, January 27th, 1974"),
        ("19/02/2009", "February 19, 2009"),
        ("January 2015", "Jan 2015"),
        ("323–272 BC", "323-272 BCE"),
        ("A.P. Møller", "A. P. Moller"),
        ("B. V. Radha", "BV Radha"),
        ("S*P*Y*S", "SPYS"),
        ("U.S.", "the US"),
        ("3 a.m.", "3 AM"),
        ("Gülçiçek Hatun", "Gulcicek hatun"),
        ("Tom Grebis", "<answer>Tom Grebis</answer>"),
        ("Tom Grebis", "I looked it up. The final answer is **Tom Grebis**."),
        ("yes", "Yes, both of them are."),
        ("no", "False"),
    ],
)
def test_match_accepts_other_spellings(gold: str, prediction: str) -> None:
    assert score(task("match", gold), prediction).correct


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        ("10.8", "108"),
        ("-5", "5"),
        ("12th", "12"),
        ("1839", "1893"),
        ("6 February 1840", "February 1840"),
        ("3 February 2009", "02/03/2009"),
        ("C++", "C"),
        ("Vitamin A", "Vitamin B"),
        ("yes", "no"),
        ("yes", "Yes and no."),
        ("Tom Grebis", "Tom Grebis or Emily Black"),
        ("Tom Grebis", ""),
        ("Tom Grebis", "   "),
    ],
)
def test_match_refuses_near_misses(gold: str, prediction: str) -> None:
    assert not score(task("match", gold), prediction).correct


def test_match_takes_any_alias_and_reports_f1() -> None:
    aliases = task("match", "United States", "US", "America")
    assert score(aliases, "america").correct
    verdict = score(task("match", "Royal Military College, Sandhurst"), "Royal Military Academy Sandhurst")
    assert not verdict.correct
    assert verdict.value == pytest.approx(0.75)
    assert token_f1("yes", "yes they are") == 0.0


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


@pytest.mark.parametrize(
    "prediction",
    [
        "C",
        "c",
        "(C)",
        "C.",
        "C. Delirium",
        "C) delirium",
        "delirium",
        "Delirium.",
        "The answer is C",
        "The answer is (C) Delirium, because of the fever.",
        "The most likely diagnosis is delirium.",
        "I would go with option C here.",
    ],
)
def test_choice_accepts_letter_and_text(prediction: str) -> None:
    assert score(task("choice", "Delirium"), prediction).correct


@pytest.mark.parametrize(
    "prediction",
    [
        "",
        "I do not know.",
        "A",
        "E",
        "A or C",
        "C, D",
        "C and D",
        "B. Delirium",
        "A: Delirium",
        "It is not delirium.",
        "Dementia, then delirium",
        "A patient with delirium",
        "To answer a question like this one needs more facts.",
        "The best option is a biopsy.",
    ],
)
def test_choice_refuses_none_several_and_contradictions(prediction: str) -> None:
    assert not score(task("choice", "Delirium"), prediction).correct


def test_options_with_the_same_text_are_right_together() -> None:
    volumes = task("choice", "200 mL", choices=("200 mL", "200 mL", "180 mL", "100 mL"))
    assert [score(volumes, letter).correct for letter in "ABCD"] == [True, True, False, False]
    assert score(volumes, "200 mL").correct


def test_options_that_are_letters_themselves() -> None:
    letters = task("choice", "c", choices=("d", "c", "x", "a"))
    assert score(letters, "c").correct
    assert score(letters, "B").correct
    assert not score(letters, "C").correct
    assert score(task("choice", "x", choices=("w", "x")), "x").correct


def test_options_that_differ_in_case_or_sign_only_stay_apart() -> None:
    isomers = task("choice", "(3aR,8s)-x", choices=("(3aR,8r)-x", "(3aR,8s)-x", "(3aR,8S)-x", "-5", "5"))
    assert score(isomers, "(3aR,8s)-x").correct
    assert not score(isomers, "(3aR,8S)-x").correct
    assert score(task("choice", "-5", choices=("5", "-5")), "-5").correct
    assert not score(task("choice", "-5", choices=("5", "-5")), "5").correct


@pytest.mark.parametrize(
    ("gold", "prediction", "expected"),
    [
        ("736455", "736,455", True),
        ("56000", "$56,000", True),
        ("0.2", "0.20", True),
        ("17", "17 papers", False),
        ("17", "18", False),
        ("b, e", "B,E", True),
        ("b, e", "e, b", False),
        ("b, e", "b", False),
        ("White; 5876", "white; 5876", True),
        ("THE CASTLE", "the castle.", True),
        ("Li Peng", "FINAL ANSWER: li peng", True),
        ("3", "nan", False),
        ("3", "inf", False),
    ],
)
def test_gaia_rules(gold: str, prediction: str, expected: bool) -> None:
    assert score(task("gaia", gold), prediction).correct is expected


@pytest.mark.parametrize(
    ("gold", "prediction", "expected"),
    [
        ("27", "27.0", True),
        ("33", "033", True),
        ("1625", "1,625", True),
        ("27", "So we get \\boxed{27}.", True),
        ("27", "They meet after 27 miles.", True),
        ("27", "Either 26 or 27.", False),
        ("27", "26, 27", False),
        ("27", "26,27", False),
        ("27", "26 or 27", False),
        ("27", "$26$ and $27$", False),
        ("27", "The answer is 26", False),
        ("\\frac{3}{4}", "0.75", True),
        ("2\\sqrt{3}", "\\sqrt{12}", True),
        ("x^2+2x+1", "(x+1)^2", True),
        ("x^2+2x+1", "(x+2)^2", False),
        ("3", "x = 3", True),
        ("6", "$\\sqrt{36}$", True),
    ],
)
def test_math(gold: str, prediction: str, expected: bool) -> None:
    assert score(task("math", gold), prediction).correct is expected


def test_math_that_never_ends_is_cut_off_and_the_next_answer_is_judged() -> None:
    worker = MathWorker(cpu_seconds=1)
    try:
        began = time.monotonic()
        assert worker.ask("27", "2^{10^{10^{10}}}") is not True
        assert worker.ask("27", "9!!!!!!!!!!!!") is not True
        assert time.monotonic() - began < 60
        assert worker.ask("6", "\\sqrt{36}") is True
    finally:
        worker.close()


FORMULA_SIGNS = st.sampled_from(["\\frac", "{", "}", "\\sqrt", "^", "_", "!", "\\boxed{", "$", "<answer>", "(", ")"])
TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(st.one_of(FORMULA_SIGNS, st.sampled_from("0123456789xyn+-*/=.,ABCD \n")), max_size=60).map("".join),
    st.sampled_from(
        ["\x00", "\ud800", "²", "1e999999999", "1_000", "٣٫٥", "½", "𐩀", "9" * 30_000, "a" * 200_000, "(" * 30_000]
    ),
)


@pytest.mark.parametrize("scorer", [name for name in SCORERS if name != "math"])
@settings(max_examples=150, deadline=None)
@given(gold=TEXTS, prediction=TEXTS)
def test_no_text_makes_a_scorer_raise(scorer: str, gold: str, prediction: str) -> None:
    verdict = score(task(scorer, gold), prediction)
    assert 0.0 <= verdict.value <= 1.0
    assert verdict.reason
    assert verdict.correct == (verdict.value == 1.0)


@settings(max_examples=60, deadline=None)
@given(gold=st.sampled_from(["27", "\\frac{3}{4}"]), prediction=TEXTS)
def test_no_text_makes_the_maths_raise_or_hang(gold: str, prediction: str) -> None:
    began = time.monotonic()
    verdict = score(task("math", gold), prediction)
    assert verdict.reason
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("scorer", list(SCORERS))
@pytest.mark.parametrize("prediction", [None, 42, 1.5, b"x", ["A"], object()])
def test_what_is_no_text_is_wrong(scorer: str, prediction: object) -> None:
    assert not score(task(scorer, "42"), prediction).correct


def test_an_unknown_scorer_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        score(task("taste", "sweet"), "sweet")
