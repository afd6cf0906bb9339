"""A number in a claim must stand in what the claim is made from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.checks.grounding import (
    names_something,
    shared_words,
    unsupported_names,
    unsupported_numbers,
)


@pytest.mark.parametrize(
    ("claim", "sources", "unsupported"),
    [
        ("It is 42.", ["42"], []),
        ("It is 41.", ["42"], ["41"]),
        ("1,260 people", ["population: 1260"], []),
        ("born in 1923-09-04", ["born 4.9.1923, the 9th month, day 04"], []),
        ("about 3.14", ["3.14159265"], []),
        ("about 3.15", ["3.14159265"], ["3.15"]),
        ("no number at all", [], []),
        ("12 and 13", ["12"], ["13"]),
        ("H2O", ["water is H2O"], []),
    ],
)
def test_numbers_are_compared_by_value(claim: str, sources: list[str], unsupported: list[str]) -> None:
    assert unsupported_numbers(claim, sources) == unsupported


@pytest.mark.parametrize(
    ("claim", "source"),
    [
        ("12.5%", "0.125"),
        ("33.3%", "0.3333333333"),
        ("75 percent", "0.75"),
        ("12.5 %", "12.5"),
        ("1.2 million", "1200000"),
        ("about 1.2 million", "1234567"),
        ("$52k", "52000"),
        ("$3.2bn", "3,200,000,000"),
        ("1/3", "0.3333333333333333"),
        ("0.33", "1/3"),
        ("3/4", "Rational(3, 4)"),
        ("7 1/2", "7.5"),
        ("2^10", "1024"),
        ("1e6", "1000000"),
        ("6.02 x 10^23", "6.02e+23"),
        ("4:30 pm", "16:30"),
        ("16:30", "4:30 p.m."),
        ("2 hours 30 minutes", "150"),
        ("1 h and 15 min", "1.25"),
        ("3 000", "3000"),
        ("20", "twenty of them"),
        ("1'234", "1234"),
        ("12.500", "12500"),
        ("3,14", "3.142857"),
        ("2½", "2.5"),
        ("13,7,15", "7, 13 and 15"),
    ],
)
def test_a_number_may_be_written_in_another_form(claim: str, source: str) -> None:
    assert unsupported_numbers(claim, [source]) == []


@pytest.mark.parametrize(
    ("claim", "source"),
    [
        ("12.5%", "0.15"),
        ("1.2 million", "1400000"),
        ("1/3", "0.25"),
        ("1/0", "7"),
        ("2^10", "100"),
        ("6.02 x 10^23", "6.02e+22"),
        ("2 hours 30 minutes", "90"),
        ("3.14159", "3"),
        ("3,14159", "3"),
        ("1'234", "1235"),
        ("0.625", "625.5"),
    ],
)
def test_another_number_is_unsupported_in_every_form(claim: str, source: str) -> None:
    assert unsupported_numbers(claim, [source]) == [claim]


@given(st.lists(st.integers(0, 10**12), min_size=1), st.integers(10**13, 10**15))
def test_what_stands_in_a_source_is_supported_and_nothing_else(known: list[int], other: int) -> None:
    source = " and ".join(f"{number:,}" for number in known)
    assert unsupported_numbers(" or ".join(map(str, known)), [source]) == []
    assert unsupported_numbers(f"{known[0]} or {other}", [source]) == [str(other)]


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_text_breaks_it(claim: str, source: str) -> None:
    assert unsupported_numbers(claim, [claim, source]) == []


@pytest.mark.parametrize(
    ("claim", "unsupported"),
    [
        ("Toad Hall, university, Melbourne", ["Melbourne"]),
        ("The halls of Toad", []),
        ("Canberra is a city. Sydney too, and Perth", ["Perth"]),  # what opens a sentence may be any word
        ("toad hall", []),
        ("", []),
    ],
)
def test_names_from_nowhere_are_found(claim: str, unsupported: list[str]) -> None:
    assert unsupported_names(claim, ["Toad Hall (ANU)", "a residential hall"]) == unsupported


@pytest.mark.parametrize(
    ("goal", "named"),
    [
        ("Find the author's name", False),
        ("find the DJ of the album", False),
        ("find when NATO was founded", True),
        ("Find who wrote Emma", True),
        ('find who wrote "emma"', True),
        ("Find who won in 1966", True),
        ("", False),
    ],
)
def test_a_sub_goal_that_names_something_is_known(goal: str, named: bool) -> None:
    assert names_something(goal) == named


def test_words_are_shared_whatever_their_number_or_case() -> None:
    passage = "[1] Slate of Lisken: in 2021 the quarries produced 8,700 tonnes, of which 65 percent were exported."
    assert shared_words("How many tonnes of slate were exported from Lisken in 2021?", passage) == 1.0
    assert shared_words("How many times does the letter s occur in 'possessiveness'?", passage) == 0.0
    assert shared_words("How many?", passage) == 0.0
