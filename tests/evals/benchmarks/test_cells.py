"""Answers and options in the shapes of well-known data sets: read by what they are, or refused with the row."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.benchmarks.cells import CellError, Options, answers_in, options_in, scalar
from evals.benchmarks.loading import load_tasks
from evals.scorers import SCORERS, score
from evals.task import Task
from graph.errors import DataError
from training.rollouts.tasks import load_tasks as load_training_tasks


def load(folder: Path, row: dict[str, Any]) -> Task:
    path = folder / "tasks.jsonl"
    path.write_text(json.dumps({"question": "A question?"} | row), encoding="utf-8")
    (task,) = load_tasks("own", path)
    (trained,) = load_training_tasks(str(path))
    assert (task.answers, task.choices, task.scorer) == (trained.answers, trained.choices, trained.scorer)
    return task


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        ({"answers": {"text": ["Bob", "Bob Hope"], "answer_start": [1, 1]}}, "bob hope", "1"),
        ({"answers": [{"text": "Bob", "answer_start": 1}, {"text": "Robert", "answer_start": 9}]}, "Robert", "9"),
        ({"answer": {"value": "Bob", "aliases": ["Robert"], "matched_wiki_entity_name": "X"}}, "Robert", "X"),
        ({"answers": [["Bob", "Robert"]]}, "Robert", "Bob Robert"),
        ({"answer": ["14 December 1972", "December 1972"]}, "December 1972", "1972"),
        ({"answers": ["Bob", None]}, "Bob", "None"),
        ({"answer": "Bob", "aliases": ["Robert"]}, "Robert", "Rob"),
        ({"answer": "He adds.\n2+2=<<2+2=4>>4\n#### 4"}, "4", "2"),
        ({"answer": "#### 1,234", "scorer": "math"}, "1234", "1"),
        ({"answer": "So $x = \\boxed{\\frac{1}{2}}$.", "scorer": "math"}, "0.5", "2"),
        ({"answer": 0.00005}, "0.00005", "5"),
        ({"answer": 27.0}, "27", "27.5"),
        ({"answer": 1e21}, "1000000000000000000000", "1"),
        ({"answer": True}, "yes", "no"),
        ({"answer": "[3, 4, 5]", "scorer": "math"}, "[3,4,5]", "4"),
        ({"answer": [3, 4, 5], "scorer": "math"}, "[3, 4, 5]", "4"),
        ({"answer": [[1, 2], [3, 4]], "scorer": "math"}, "Matrix([[1, 2], [3, 4]])", "[1, 2]"),
        ({"answers": [3, 4], "scorer": "math"}, "4", "[3, 4]"),
        ({"answer": "['a', 'b']"}, "['a', 'b']", "a"),
        ({"choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"}, "y", "A"),
        ({"choices": {"text": ["7", "2", "1"], "label": ["1", "2", "3"]}, "answer": "1"}, "7", "1"),
        ({"choices": {"A": "x", "B": "y"}, "answer": "B"}, "y", "x"),
        ({"choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}], "answer": "B"}, "B", "A"),
        ({"choices": ["red", "green"], "answer": "green"}, "B", "red"),
    ],
)
def test_well_known_shapes_are_read(row: dict[str, Any], right: str, wrong: str, tmp_path: Path) -> None:
    task = load(tmp_path, row)
    assert score(task, right).correct, task
    assert not score(task, wrong).correct, task


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answer": math.nan}, "has no answers"),
        ({"answers": [math.nan, None, ""]}, "empty answer"),
        ({"answer": math.inf}, "no number"),
        ({"answers": {"text": [], "answer_start": []}}, "unanswerable"),
        ({"answer": {"number": "3", "date": {}}}, "the keys number, date; write a text"),
        ({"answers": [["Bob"], ["Robert"]]}, "lists inside the list"),
        ({"answer": ["x = 1", "x = 2"], "scorer": "math"}, "under `answers`"),
        ({"answer": "x" * 2000, "scorer": "math"}, "final answer alone"),
        ({"question": ["who", "what"], "answer": "x"}, "question that is a list"),
        ({"question": math.nan, "answer": "x"}, "has no question"),
        ({"choices": {"text": ["x", "y"], "label": ["A", "A"]}, "answer": "A"}, "label of its own"),
        ({"choices": {"red": 1, "green": 2}, "answer": "red"}, "the keys red, green"),
        ({"choices": ["x", None], "answer": "x"}, "empty option"),
        ({"choices": [["x"], ["y"]], "answer": "x"}, "has a list where"),
        ({"choices": ["x", "y"], "answer": 3}, "none of its options"),
    ],
)
def test_what_could_never_be_right_is_refused_with_its_row(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"tasks.jsonl, row 1, .*{said}"):
        load(tmp_path, row)


def test_lists_are_written_as_text_where_there_are_no_lists(tmp_path: Path) -> None:
    path = tmp_path / "tasks.csv"
    path.write_text('question,answers,choices\nQ?,"[""Ada"", ""A. L.""]",\nR?,y,"[""x"", ""y""]"\nS?,[3,\n')
    first, second, third = load_tasks("own", path)
    assert first.answers == ("Ada", "A. L.")
    assert second.choices == ("x", "y")
    assert third.answers == ("[3",)
    path.write_text("question,options,answer\nQ?,\"{'A': 'x', 'B': 'y'}\",B\n")
    assert load_tasks("medqa", path)[0].answers == ("y",)
    path.write_text('question,answer\nQ?,"[3, 4]"\n')
    assert load_tasks("own", path)[0].answers == ("[3, 4]",)


@pytest.mark.parametrize("value", [b"x", object(), 1j, math.inf])
def test_values_that_are_no_text_are_refused(value: object) -> None:
    with pytest.raises(CellError):
        scalar(value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["text", "label", "value", "aliases", "A", "B", "answer", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


def refusal(read: Callable[[], object], kind: type[Exception]) -> str:
    """What a refusal says; empty if there is none."""
    try:
        read()
    except kind as error:
        return str(error)
    return ""


@settings(max_examples=300)
@given(value=VALUES, alternatives=st.booleans(), scorer=st.sampled_from(list(SCORERS)))
def test_every_cell_is_answers_or_a_refusal_with_its_cure(value: object, alternatives: bool, scorer: str) -> None:
    answers: list[str] = []
    said = refusal(lambda: answers.extend(answers_in(value, alternatives=alternatives, scorer=scorer)), CellError)
    assert "; " in said if said else all(isinstance(answer, str) for answer in answers)


@settings(max_examples=200)
@given(value=VALUES)
def test_every_cell_is_options_or_a_refusal_with_its_cure(value: object) -> None:
    found: list[Options] = []
    said = refusal(lambda: found.append(options_in(value)), CellError)
    assert "; " in said if said else len(found[0].labels) in (0, len(found[0].texts))


@settings(max_examples=100)
@given(answer=VALUES, scorer=st.sampled_from(["match", "math", "gaia"]))
def test_a_row_that_is_taken_can_be_answered(
    answer: object, scorer: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "cells.json"
    path.write_text(json.dumps([{"question": "Q?", "answer": answer, "scorer": scorer}]))
    tasks: list[Task] = []
    said = refusal(lambda: tasks.extend(load_tasks("own", path)), DataError)
    assert "row 1, " in said if said else any(score(tasks[0], text).correct for text in tasks[0].answers)
