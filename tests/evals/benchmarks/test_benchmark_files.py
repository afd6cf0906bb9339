"""Every row of every benchmark file: the reference answer is right, another row's answer is wrong.

Other rows' answers that score right are allowed only where they say the same; what "the same" may mean is spelled out
in `really_same`, so that a scorer that became too generous fails here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from evals.benchmarks.loading import load_tasks
from evals.benchmarks.registry import BENCHMARKS
from evals.scorers import score
from evals.task import Task

TEN = [name for name in BENCHMARKS if name != "own"]
ROWS = {
    "bamboogle": 63, "2wiki": 100, "hotpotqa": 50, "musique": 100, "gaia": 64,
    "aime24": 15, "amc23": 20, "gameof24": 150, "gpqa": 150, "medqa": 150,
}  # fmt: skip
SAME_WORD = {"zero": "0"}


def letters(text: str) -> str:
    """Letters and digits only, lower case: a comparison that is independent of the scorers."""
    plain = "".join(sign for sign in text.casefold() if sign.isalnum())
    return SAME_WORD.get(plain, plain)


def really_same(task: Task, other_answer: str) -> bool:
    if task.choices and len(other_answer) == 1 and other_answer.isalpha():
        return True  # the other row's option *is* a letter, and here that letter names an option
    return letters(other_answer) in {letters(answer) for answer in task.answers}


@pytest.mark.parametrize("name", TEN)
def test_all_rows_are_read(shared_data: Path, name: str) -> None:
    tasks = load_tasks(name, shared_data / "benchmarks")
    assert len(tasks) == ROWS[name]
    assert len({task.id for task in tasks}) == len(tasks)
    for task in tasks:
        assert "<answer>" not in task.prompt
        assert "When ready" not in task.prompt
        assert not any(answer.startswith("[") for answer in task.answers)
        if task.choices:
            last_option = f"D. {task.choices[-1]}"
            assert task.prompt.count(last_option) == 1


@pytest.mark.parametrize("name", TEN)
def test_reference_answers_score_right(shared_data: Path, name: str) -> None:
    tasks = load_tasks(name, shared_data / "benchmarks")
    wrong = [task.id for task in tasks for answer in task.answers if not score(task, answer).correct]
    assert wrong == []


@pytest.mark.parametrize("name", TEN)
def test_answers_of_other_rows_score_wrong(shared_data: Path, name: str) -> None:
    tasks = load_tasks(name, shared_data / "benchmarks")
    generous = [
        (task.id, other.id)
        for task in tasks
        for other in tasks
        if other is not task
        for answer in other.answers[:1]
        if score(task, answer).correct and not really_same(task, answer)
    ]
    assert generous == []


@pytest.mark.parametrize("name", ["gpqa", "medqa"])
def test_options_are_right_by_letter_exactly_where_the_text_is(shared_data: Path, name: str) -> None:
    for task in load_tasks(name, shared_data / "benchmarks"):
        assert task.choices is not None
        for letter, text in zip("ABCD", task.choices, strict=True):
            expected = text in task.answers
            assert score(task, letter).correct is expected
            assert score(task, f"{letter}. {text}").correct is expected


def test_gaia_shows_neither_answer_nor_annotations(shared_data: Path) -> None:
    for task in load_tasks("gaia", shared_data / "benchmarks"):
        assert set(task.metadata) <= {"level"}
        assert "Annotator" not in task.prompt


def test_the_wiki_questions_are_read_as_own_questions(shared_data: Path) -> None:
    tasks = load_tasks("own", shared_data / "wiki" / "questions.jsonl")
    assert len(tasks) == 100
    assert all(score(task, answer).correct for task in tasks for answer in task.answers)
