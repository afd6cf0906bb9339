"""Short answers: the spellings that are the same, and the near misses that are not."""

from __future__ import annotations

import pytest

from evals.scorers import score
from evals.scorers.match import token_f1

from .asked import task


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        ("1,335,907", "1335907"),
        ("22", "twenty-two"),
        ("206", "two hundred and six"),
        ("12th", "twelfth"),
        ("third-largest", "3rd largest"),
        ("about $1.18 trillion", "about 1,180,000,000,000 dollars"),
        ("$59,039", "59039"),
        ("92 percent", "92 %"),
        ("320 km/h", "320 kilometres per hour"),
        ("310 square kilometers", "310 km²"),
        ("April 30, 1971", "30 April 1971"),
        ("30 April 1971", "1971-04-30"),
        ("27 January 1974", "on Sunday, January 27th, 1974"),
        ("19/02/2009", "February 19, 2009"),
        ("January 2015", "Jan 2015"),
        ("323–272 BC", "323-272 BCE"),
        ("A.P. Møller", "A. P. Moller"),
        ("B. V. Radha", "BV Radha"),
        ("S*P*Y*S", "SPYS"),
        ("U.S.", "the US"),
        ("3 a.m.", "3 AM"),
        ("Gülçiçek Hatun", "Gulcicek hatun"),
        ("Tom Grebis", "<answer>Tom Grebis</answer>"),
        ("Tom Grebis", "I looked it up. The final answer is **Tom Grebis**."),
        ("yes", "Yes, both of them are."),
        ("no", "False"),
    ],
)
def test_match_accepts_other_spellings(gold: str, prediction: str) -> None:
    assert score(task("match", gold), prediction).correct


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        ("10.8", "108"),
        ("-5", "5"),
        ("12th", "12"),
        ("1839", "1893"),
        ("6 February 1840", "February 1840"),
        ("3 February 2009", "02/03/2009"),
        ("C++", "C"),
        ("Vitamin A", "Vitamin B"),
        ("yes", "no"),
        ("yes", "Yes and no."),
        ("Tom Grebis", "Tom Grebis or Emily Black"),
        ("Tom Grebis", ""),
        ("Tom Grebis", "   "),
    ],
)
def test_match_refuses_near_misses(gold: str, prediction: str) -> None:
    assert not score(task("match", gold), prediction).correct


def test_match_takes_any_alias_and_reports_f1() -> None:
    aliases = task("match", "United States", "US", "America")
    assert score(aliases, "america").correct
    verdict = score(task("match", "Royal Military College, Sandhurst"), "Royal Military Academy Sandhurst")
    assert not verdict.correct
    assert verdict.value == pytest.approx(0.75)
    assert token_f1("yes", "yes they are") == 0.0
