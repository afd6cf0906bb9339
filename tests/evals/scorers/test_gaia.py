"""The rules of GAIA's leaderboard, and where its code would change a value."""

from __future__ import annotations

import pytest

from evals.scorers import score

from .answers_text import GAIA_RIGHT, GAIA_WRONG
from .asked import task


@pytest.mark.parametrize(
    ("gold", "prediction", "expected"),
    [
        ("736455", "736,455", True),
        ("56000", "$56,000", True),
        ("0.2", "0.20", True),
        ("17", "17 papers", False),
        ("17", "18", False),
        ("b, e", "B,E", True),
        ("b, e", "e, b", False),
        ("b, e", "b", False),
        ("White; 5876", "white; 5876", True),
        ("THE CASTLE", "the castle.", True),
        ("Li Peng", "FINAL ANSWER: li peng", True),
        ("3", "nan", False),
        ("3", "inf", False),
        ("\\\\", "\\\\", True),
        ("\\\\", "/", False),
    ],
)
def test_gaia_rules(gold: str, prediction: str, expected: bool) -> None:
    assert score(task("gaia", gold), prediction).correct is expected


def test_gaia_accepts_the_same_and_changes_no_value() -> None:
    assert [pair for pair in GAIA_RIGHT if not score(task("gaia", pair[0]), pair[1]).correct] == []
    assert [pair for pair in GAIA_WRONG if score(task("gaia", pair[0]), pair[1]).correct] == []


def test_gaias_own_rules_are_the_exact_ones() -> None:
    assert score(task("gaia", "56000"), "$56,000").exact
    assert not score(task("gaia", "17"), "about 17 people").exact
