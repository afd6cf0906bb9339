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
    ],
)
def test_answers_are_read(reply: str, answer: str) -> None:
    assert parse_answer(reply) == answer


@given(st.text(max_size=400) | st.text(alphabet='{}[]":,abc \n`*<>#-.', max_size=300))
def test_no_text_breaks_the_parser(text: str) -> None:
    assert isinstance(parse_answer(text), str)
