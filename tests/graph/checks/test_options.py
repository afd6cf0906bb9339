"""What a question offers, its answer must be made of."""

import pytest

from evals import load_tasks
from graph.checks.evidence import Evidence
from graph.checks.options import left_out, none_of_the_options


def asked(question: str) -> Evidence:
    return Evidence(question, (), (), passages=False)


@pytest.mark.parametrize(
    ("question", "answer", "none"),
    [
        ("Which is higher, Mount Oda or Cairn Lugh?", "1,874 metres", True),
        ("Which is higher, Mount Oda or Cairn Lugh?", "Mount Oda", False),
        ("Which is larger, 17/23 or 31/42?", "0.739", True),
        ("Which is larger, 17/23 or 31/42?", "17/23", False),
        ("Which of the villages Lisken, Gillstone and Hollin is the largest?", "1710", True),
        ("Which of the villages Lisken, Gillstone and Hollin is the largest?", "Hollin", False),
        ("Which is larger, 3/4 or 2/3?", "0.75", False),
        ("Which is larger, 0.5 or 1/3?", "one half", False),
        ("Which vitamin is fat soluble, A or C?", "A", False),
        ("Which vitamin is fat soluble, A or C?", "a pill", True),
        ("Which novels came out in 1990 or later?", "Dawn", False),
        ("Who founded Port Ellery, the harbour town?", "Agnes Corvell", False),
        ("How many are red, green or blue?", "7", False),
    ],
)
def test_an_answer_is_one_of_the_options(question: str, answer: str, none: bool) -> None:
    assert (none_of_the_options(answer, asked(question)) is not None) == none


@pytest.mark.parametrize(
    ("question", "answer", "missing"),
    [
        ("Put Fennick, Marrow Hill and Port Ellery in the order of their size.", "Marrow Hill, Fennick", "Port Ellery"),
        ("Put Fennick, Marrow Hill and Port Ellery in the order of their size.", "Ellery, Fennick, Marrow", None),
        ("Arrange the words pear and apple by their letters.", "apple", "the words pear"),
        ("Sort 3, 10 and 7 from large to small.", "10, 7, 3", None),
        ("Put A, B and C in order of size.", "B, A, C", None),
        ("Put A, B and C in order of size.", "B, C", "A"),
        ("Sort a, b and c by their size.", "b, c, a", None),
        ("Sort 1/2, 0.25 and 3 by their size.", "0.25, 0.5, 3", None),
        ("Put the kettle on.", "done", None),
    ],
)
def test_an_order_has_all_items(question: str, answer: str, missing: str | None) -> None:
    complaint = left_out(answer, asked(question))
    assert complaint == (f"the answer leaves out {missing}" if missing else None)


def test_right_answers_are_never_doubted() -> None:
    for task in load_tasks("own"):
        assert none_of_the_options(task.answers[0], asked(task.question)) is None, task.question
        assert left_out(task.answers[0], asked(task.question)) is None, task.question
