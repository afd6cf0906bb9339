"""Code of users that is named by its import path."""

from __future__ import annotations

from training.run.imports import in_words


def test_an_error_is_told_as_a_part_of_a_sentence() -> None:
    assert in_words(ValueError("The tide is out.")) == "ValueError: The tide is out"
