"""Options named in every way, and answers that name none or several."""

from __future__ import annotations

import pytest

from evals.scorers import score

from .answers_choice import CHOSEN, NOT_CHOSEN
from .asked import task


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
    assert score(volumes, "B. 200 mL").correct


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


def test_a_sentence_can_choose_an_option() -> None:
    verdicts = {said: score(task("choice", "Delirium"), said) for said in CHOSEN}
    assert {said: verdict.reason for said, verdict in verdicts.items() if not verdict.correct} == {}


def test_a_sentence_that_does_not_choose_the_option() -> None:
    verdicts = {said: score(task("choice", "Delirium"), said) for said in NOT_CHOSEN}
    assert {said: verdict.reason for said, verdict in verdicts.items() if verdict.correct} == {}


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        ("Option 3", "3", True),
        ("3", "3", True),
        ("the third option", "3", True),
        ("C", "3", True),
        ("Option 3", "2", False),
        ("4", "3", False),
    ],
)
def test_a_number_that_is_an_option_and_a_place(prediction: str, gold: str, expected: bool) -> None:
    assert score(task("choice", gold, choices=("1", "2", "3", "4")), prediction).correct is expected
