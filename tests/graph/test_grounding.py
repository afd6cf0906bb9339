"""A number in a claim must stand in what the claim is made from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.grounding import unsupported_numbers


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


@given(st.lists(st.integers(0, 10**12), min_size=1), st.integers(10**13, 10**15))
def test_what_stands_in_a_source_is_supported_and_nothing_else(known: list[int], other: int) -> None:
    source = " and ".join(f"{number:,}" for number in known)
    assert unsupported_numbers(" or ".join(map(str, known)), [source]) == []
    assert unsupported_numbers(f"{known[0]} or {other}", [source]) == [str(other)]


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_text_breaks_it(claim: str, source: str) -> None:
    assert unsupported_numbers(claim, [claim, source]) == []
