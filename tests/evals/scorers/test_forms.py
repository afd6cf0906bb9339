"""Other forms of a short answer, which the lenient rules accept, and what they must not let through."""

from __future__ import annotations

import pytest

from evals.scorers import score

from .answers_text import RIGHT, WRONG
from .asked import task


def test_right_in_another_form() -> None:
    verdicts = {(gold, said): score(task("match", gold), said) for gold, said in RIGHT}
    assert {pair: verdict.reason for pair, verdict in verdicts.items() if not verdict.correct} == {}


def test_wrong_in_a_similar_form() -> None:
    verdicts = {(gold, said): score(task("match", gold), said) for gold, said in WRONG}
    assert {pair: verdict.reason for pair, verdict in verdicts.items() if verdict.correct} == {}


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        ("52", "about 52"), ("52", "52 years"), ("Barack Obama", "President Barack Obama"), ("F-16", "F16"),
        ("Rachel Anne Maddow", "Rachel Maddow"), ("Paris", "the capital of France (Paris)"), ("yes", "Yes, no doubt."),
        ("500", "500 yuan"),
    ],
)  # fmt: skip
def test_other_forms_are_right_under_the_lenient_rules_only(gold: str, prediction: str) -> None:
    verdict = score(task("match", gold), prediction)
    assert (verdict.correct, verdict.exact, verdict.value) == (True, False, 1.0)
    same = score(task("match", gold), gold)
    assert (same.correct, same.exact) == (True, True)
