"""Options named in every way, and answers that name none or several."""

from __future__ import annotations

import pytest

from evals.scorers import score

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


CHOSEN = [
    "the third option", "The third one", "third", "3rd option", "Option 3",
    "The first option is wrong, so the third.", "not A, so C", "Not A, so C.",
    "It's not A, so it must be C", "Not A or B, therefore C", "not dementia, so delirium",
    "The patient most likely has delirium because of the infection.", "Delirium is the most likely diagnosis.",
    "Delirium is the correct answer", "C, because of the fever", "C (Delirium)",
    "Delirium rather than dementia is the most likely diagnosis",
]  # fmt: skip
NOT_CHOSEN = [
    "the second option", "the last option", "the third option is wrong", "not the third option",
    "first or third", "not C, so A", "Not A, so C or D", "not C", "A is wrong, B is wrong, D is wrong",
    "Not delirium, so dementia", "not A, so not C", "Delirium is unlikely.", "Delirium is not the answer",
    "I would exclude delirium.", "A patient with delirium", "This looks like delirium or dementia",
    "The best option is a biopsy.", "Dementia, then delirium", "delirium?", "Everything except delirium",
    "C is wrong", "C is incorrect.", "It can't be C", "C or D", "B. Delirium", "Not C but D",
    "Dementia rather than delirium is the diagnosis",
]  # fmt: skip


@pytest.mark.parametrize("prediction", CHOSEN)
def test_a_sentence_can_choose_an_option(prediction: str) -> None:
    verdict = score(task("choice", "Delirium"), prediction)
    assert verdict.correct, verdict.reason


@pytest.mark.parametrize("prediction", NOT_CHOSEN)
def test_a_sentence_that_does_not_choose_the_option(prediction: str) -> None:
    verdict = score(task("choice", "Delirium"), prediction)
    assert not verdict.correct, verdict.reason
