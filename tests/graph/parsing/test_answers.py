from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.parsing import parse_answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Answer: 42", "42"),
        ("**Answer:** 42", "42"),
        ("Some steps.\nFinal answer: Paris", "Paris"),
        ("Answer: draft\nNo.\nAnswer: Rome", "Rome"),
        ("<think>Answer: 1</think>Answer: 2", "2"),
        ("Answer: 1 or 2.\n</think>\n2", "2"),
        ("Paris", "Paris"),
        ("So it is this.\n<answer>Paris</answer>", "Paris"),
        ('```json\n{"answer": "Paris"}\n```', "Paris"),
        ('Answer: {"answer": 2}', '{"answer": 2}'),
        ("<think>Paris", ""),
        ("Answer:\nParis", "Paris"),
        ("Answer:\n\nParis\n\nIt is the capital.", "Paris"),
        ("Answer: Paris\nExplanation: It is the capital.", "Paris"),
        ("**Answer: 42**\n**Confidence:** high", "42"),
        ("1. Answer: A\n2. Reason: it is red", "A\n2. Reason: it is red"),
        ("Answer: red\ngreen\nblue\n\nThese are all.", "red\ngreen\nblue"),
        ("Answer: Monday: 3\nTuesday: 4", "Monday: 3\nTuesday: 4"),
        ("Answer: the order is:\nFirst: Rome\nLast: Paris", "the order is:\nFirst: Rome\nLast: Paris"),
        ("Answer:\nx = 1\nif x > 0: print(x)", "x = 1\nif x > 0: print(x)"),
        ("<answer>Paris</answer>\n\nParis is the capital.", "Paris"),
        ("<think>x</think><answer>Paris</answer> done", "Paris"),
        ("<answer>Paris</answer", "Paris"),
        ("Answer: a*", "a*"),
        ("Answer: *.py", "*.py"),
        ("Answer: `*.py`", "*.py"),
        ("Answer: **`a*b`**", "a*b"),
        ("Answer: **bold** or **more**", "**bold** or **more**"),
        ("Answer: __init__", "__init__"),
        ("Answer: *", "*"),
        ("```\nanswer = f(2)\n```\nIt is 4.", "```\nanswer = f(2)\n```\nIt is 4."),
    ],
)
def test_answers_are_read(reply: str, answer: str) -> None:
    assert parse_answer(reply) == answer


@given(st.text(max_size=400) | st.text(alphabet='{}[]":,abc \n`*<>#-.', max_size=300))
def test_no_text_breaks_the_parser(text: str) -> None:
    assert isinstance(parse_answer(text), str)
