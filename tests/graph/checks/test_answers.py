"""An answer must have the form that its question asks for, and its words must come from what was read."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.checks.answers import answer_complaint, lost_sign, not_in_sources, wrong_form
from graph.checks.evidence import Evidence
from graph.state import Verdict


def read_from(question: str, *passages: str) -> Evidence:
    return Evidence(question=question, new=passages, old=(), passages=True)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("When was the country that made Fist Power taken by the British?", "1842"),
        ("When did the band form?", "in the nineteen-twenties"),
        ("On which day of the week did 20 July 1969 fall?", "Sunday"),
        ("How many people live there?", "none"),
        ("How many moons has Venus?", "zero"),
        ("How many play in a rugby team?", "fifteen"),
        ("How many thieves were there?", "forty"),
        ("How many states are there?", "fifty"),
        ("How much of it is water?", "half"),
        ("How many people live there?", "about a billion"),
        ("When does it open?", "at noon"),
        ("On which weekday is the market held?", "on Thursdays"),
        ("Which month is the coldest?", "January"),
        ("In which year was it founded?", "in 1811"),
        ("In what year of her life did she climb it?", "31"),
        ("When is 1000 days later? Answer as YYYY-MM-DD.", "2022-09-27"),
        ("Is 391 prime? Answer yes or no.", "No."),
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
    assert wrong_form(answer, read_from(question)) is None


@pytest.mark.parametrize(
    ("question", "answer", "complaint"),
    [
        ("When was Hong Kong's maker taken by the British?", "Lima", "a date or a number"),
        ("In what year was the ferry founded?", "Port Ellery", "a year"),
        ("When was it founded?", "in the north of Norway", "a date or a number"),
        ("By 1063, how many ships had he?", "many of them", "a date or a number"),
        ("Are both magazines British?", "Pick Me Up", "yes or no"),
        ("On which day of the week did it sink?", "3", "a weekday"),
        ("Which weekday was 5 May 1821?", "5 May", "a weekday"),
        ("In which month does it bloom?", "8", "a month"),
        ("In which year was she born?", "3 May", "a year"),
        ("Which date is it? Answer as YYYY-MM-DD.", "24 June 2022", "YYYY-MM-DD"),
        ("Did Edwin live longer than Hanna? Answer yes or no.", "Hanna", "yes or no"),
        ("Who created the soap opera about Kate Ramsay?", "Kate Ramsay", "repeats the question"),
    ],
)
def test_an_answer_of_the_wrong_form_is_named(question: str, answer: str, complaint: str) -> None:
    assert complaint in (wrong_form(answer, read_from(question)) or "")


PASSAGES = ["Amy Johnson was a pioneering English aviator.", "They Flew Alone is a British biopic of 1942."]


@pytest.mark.parametrize("answer", ["aviator", "English aviators", "the profession of an aviator", "1942", ""])
def test_words_of_the_passages_are_supported(answer: str) -> None:
    assert not_in_sources(answer, read_from("What was the profession of Amy Johnson?", *PASSAGES)) is None


def test_a_word_that_no_passage_holds_is_named() -> None:
    assert (
        not_in_sources("pilot", read_from("What was the profession of Amy Johnson?", *PASSAGES))
        == "no result says 'pilot'"
    )


def test_what_the_chat_said_is_known() -> None:
    evidence = read_from("Which of her professions came first?", *PASSAGES)
    assert not_in_sources("pilot", evidence) is not None
    assert not_in_sources("pilot", replace(evidence, said=("Was she a pilot or a nurse?",))) is None


def test_yes_and_no_need_no_source() -> None:
    assert not_in_sources("no", read_from("Was Amy Johnson a Scot?", *PASSAGES)) is None


@given(st.text(max_size=100), st.text(max_size=100))
def test_no_text_breaks_it_and_an_answer_that_was_read_is_supported(question: str, answer: str) -> None:
    wrong_form(answer, read_from(question))
    assert not_in_sources(answer, read_from(question, answer)) is None


@pytest.mark.parametrize(
    ("question", "answer", "passage"),
    [
        ("秘鲁的首都是哪个城市？", "利马市", "利马市是秘鲁的首都。"),
        ("Какой город столица Перу, Лима или Куско?", "Лима", "Лима - столица Перу."),
        ("Which city is the capital of Peru?", "Lima", "利马市是秘鲁的首都。"),
    ],
)
def test_no_complaint_about_other_scripts(question: str, answer: str, passage: str) -> None:
    verdict = Verdict(accepted=True, stop=True, reason="", answer=answer, missing="", source="model")
    complain = [lambda answer, evidence: "always"]
    assert answer_complaint(verdict, read_from(question, passage), complain) is None
    assert answer_complaint(verdict, read_from("q", "Lima"), complain) == (None if answer != "Lima" else "always")


@pytest.mark.parametrize(
    ("results", "answer", "lost"),
    [
        (["-1073"], "1073", True),
        (["the difference is -1,073.5"], "1,073.5", True),
        (["-1073"], "-1073", False),
        (["-1073"], "−1073", False),
        (["-1073"], "–1073.", False),
        (["−1073"], "1073", True),
        (["1073"], "1073", False),
        (["-1073", "from 1073 on"], "1073", False),
        (["5-1073"], "1073", False),
        (["-10735"], "1073", False),
        (["-1073"], "about it", False),
        ([], "1073", False),
    ],
)
def test_a_lost_sign_is_noticed(results: list[str], answer: str, lost: bool) -> None:
    evidence = Evidence(question="What is 1450 - 87 * 29?", new=tuple(results), old=(), passages=False)
    assert (lost_sign(answer, evidence) is not None) == lost
