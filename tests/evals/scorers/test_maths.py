"""Numbers and formulas as answers."""

from __future__ import annotations

import time

import pytest

from evals.scorers import score
from evals.scorers.formulas.process import FormulaWorker

from .answers_math import RIGHT, WRONG
from .asked import task


def test_right_in_any_spelling() -> None:
    verdicts = {(gold, said): score(task("math", gold), said) for gold, said in RIGHT}
    assert {pair: verdict.reason for pair, verdict in verdicts.items() if not verdict.correct} == {}


def test_wrong_however_near() -> None:
    verdicts = {(gold, said): score(task("math", gold), said) for gold, said in WRONG}
    assert {pair: verdict.reason for pair, verdict in verdicts.items() if verdict.correct} == {}


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
    worker = FormulaWorker(cpu_seconds=1)
    try:
        began = time.monotonic()
        assert not worker.ask("27", "2^{10^{10^{10}}}").equal
        assert not worker.ask("27", "9!!!!!!!!!!!!").equal
        slow = "zeta(1/2 + 10^7*i)"
        assert "within 1 seconds" in worker.ask(slow, f"{slow} + 0").why
        assert time.monotonic() - began < 60
        assert worker.ask("6", "\\sqrt{36}").equal
    finally:
        worker.close()
