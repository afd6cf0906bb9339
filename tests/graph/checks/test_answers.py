"""An answer must have the form that its question asks for, and its words must come from what was read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.checks.answers import form_complaint, source_complaint


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("When was the country that made Fist Power taken by the British?", "1842"),
        ("When did the band form?", "in the nineteen-twenties"),
        ("On which day of the week did 20 July 1969 fall?", "Sunday"),
        ("How many people live there?", "none"),
        ("Are both magazines British?", "no"),
        ("Are both magazines British?", "Yes, both are."),
        ("Is Lima or Cusco the capital of Peru?", "Lima"),
        ("Which plant is larger, the Pterocarya or the Cotula?", "Pterocarya"),
        ("Who designed the Forth Bridge?", "John Fowler"),
        ("What is 6 * 7?", "42"),
        ("How many chambers has the heart?\nA) two\nB) four", "B"),
        ("Which vessel is large?\n(A) the aorta\n(B) a vein", "the aorta"),
        ("Do you know who designed the Forth Bridge?", "John Fowler"),
        ("When he was young, who taught John Fowler?", "J. T. Leather"),
    ],
)
def test_an_answer_of_the_right_form_passes(question: str, answer: str) -> None:
    assert form_complaint(question, answer) is None


@pytest.mark.parametrize(
    ("question", "answer", "complaint"),
    [
        ("When was Hong Kong's maker taken by the British?", "Lima", "a date or a number"),
        ("In what year was the ferry founded?", "Port Ellery", "a date or a number"),
        ("By 1063, how many ships had he?", "many of them", "a date or a number"),
        ("Are both magazines British?", "Pick Me Up", "yes or no"),
        ("Who created the soap opera about Kate Ramsay?", "Kate Ramsay", "repeats the question"),
    ],
)
def test_an_answer_of_the_wrong_form_is_named(question: str, answer: str, complaint: str) -> None:
    assert complaint in (form_complaint(question, answer) or "")


PASSAGES = ["Amy Johnson was a pioneering English aviator.", "They Flew Alone is a British biopic of 1942."]


@pytest.mark.parametrize("answer", ["aviator", "English aviators", "the profession of an aviator", "1942", ""])
def test_words_of_the_passages_are_supported(answer: str) -> None:
    assert source_complaint("What was the profession of Amy Johnson?", answer, PASSAGES) is None


def test_a_word_that_no_passage_holds_is_named() -> None:
    assert source_complaint("What was the profession of Amy Johnson?", "pilot", PASSAGES) == "no result says 'pilot'"


def test_yes_and_no_need_no_source() -> None:
    assert source_complaint("Was Amy Johnson a Scot?", "no", PASSAGES) is None


@given(st.text(max_size=100), st.text(max_size=100))
def test_no_text_breaks_it_and_an_answer_that_was_read_is_supported(question: str, answer: str) -> None:
    form_complaint(question, answer)
    assert source_complaint(question, answer, [answer]) is None
