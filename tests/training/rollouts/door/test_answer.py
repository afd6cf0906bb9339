"""What is read as an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.rollouts.door.answer import read_answer


@pytest.mark.parametrize(
    ("text", "answer", "state"),
    [
        ("42\n", "42", {}),
        ("two\nlines\n", "two\nlines", {}),
        ('{"answer": "42", "steps": 3}', "42", {"answer": "42", "steps": 3}),
        ('{\n "answer": "42"\n}', "42", {"answer": "42"}),
        ('thinking ...\n{"x": 1}\n{"answer": 42}\n\n', "42", {"answer": 42}),
        ('{"answer": ["a", "é"]}', '["a", "é"]', {"answer": ["a", "é"]}),
        ('{"river": "Danube"}', '{"river": "Danube"}', {}),
        ('{"answer": null}', '{"answer": null}', {}),
        ('{"answer": "42"', '{"answer": "42"', {}),
        ('["answer"]', '["answer"]', {}),
        ("{" * 50_000, "{" * 50_000, {}),
        ("", "", {}),
    ],
)
def test_text_json_and_json_in_the_last_line(text: str, answer: str, state: dict[str, object]) -> None:
    assert read_answer(text) == (answer, state)


def test_a_path_into_the_object() -> None:
    assert read_answer('{"report": {"lines": ["a", "b"]}}', "report.lines.-1")[0] == "b"
    assert read_answer('{"answer": "x"}', "report.title") == ('{"answer": "x"}', {})


@given(st.text())
def test_any_text_is_an_answer(text: str) -> None:
    answer, state = read_answer(text)
    assert state or answer == text.strip().replace("\0", "\N{REPLACEMENT CHARACTER}")
