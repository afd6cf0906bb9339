"""Scorers run beside the event loop: whatever a model repeats, they end in time that grows with its length only."""

from __future__ import annotations

import time

import pytest

from evals.scorers import SCORERS, score

from .asked import task

ANSWERS = {"choice": ("C", "Delirium"), "gameof24": ("6/(1-", "3/4)"), "math": ("2", "5"), "gaia": ("2", "5")}
"""Two halves of an answer."""
FORMS = [
    "{}{repeated}{}", "{repeated}{}{}", "The answer is {}{repeated}{}.", "Answer:{repeated}{}{}",
    "\\boxed{{{}}}{repeated}so \\boxed{{{}}}", "<answer>{}</answer>{repeated}x<answer>{}</answer>",
    "{}{repeated}likely", "I choose {} because{repeated}{}",
]  # fmt: skip
REPEATED = [
    " ", "\n", "\t", " \n", "1", "1 ", "1,", "(", ")", "[]", "{", "}", "*", "**", "** a", "\\", "$", "$ ", "a", "A ",
    "a ", "a. ", ", ", ".", "-", "=", "\\boxed{", "<answer>", "answer is ", "#### ", "or ", "not ",
]  # fmt: skip
SIZES = (600, 1200, 2400, 4800)
SHORT = 0.15
"""Seconds below which a time says nothing about its growth."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scorer", SCORERS)
def test_a_mark_that_is_repeated_holds_no_scorer_up(scorer: str, form: str) -> None:
    halves = ANSWERS.get(scorer, ("Tom", "Grebis"))
    _seconds(scorer, form.format(*halves, repeated=" "))  # what is imported once
    for mark in REPEATED:
        before = SHORT / 3
        for size in SIZES:
            took = _seconds(scorer, form.format(*halves, repeated=mark * (size // len(mark))))
            # Twice the text takes twice the time; what grows with the square takes four times as long.
            assert took < SHORT or took < 3 * before, (mark, size, took)
            before = max(before, took)


def _seconds(scorer: str, text: str) -> float:
    began = time.thread_time()
    score(task(scorer, "Delirium" if scorer == "choice" else "27"), text)
    return time.thread_time() - began
