"""The rules of GAIA's leaderboard, and where its code would change a value."""

from __future__ import annotations

import pytest

from evals.scorers import score

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
    ],
)
def test_gaia_rules(gold: str, prediction: str, expected: bool) -> None:
    assert score(task("gaia", gold), prediction).correct is expected


@pytest.mark.parametrize(
    ("gold", "prediction", "expected"),
    [
        ("17", "17 people", True),
        ("12", "1,2", False),
        ("17", "17 or 18", False),
        ("1.5 liters", "15 liters", False),
        ("-5 C", "5 C", False),
        ("50", "5_0", False),
        ("17", "about 17", True),
        ("56000", "€56,000", True),
        ("b, e", "e, b", False),
        ("17", "1 7", False),
        ("3.5 m", "35 m", False),
        ("0.1777", "0.1777", True),
        ("0.1777", "0.178", False),
        ("THE CASTLE", "castle", False),
    ],
)
def test_gaia_changes_no_value(gold: str, prediction: str, expected: bool) -> None:
    assert score(task("gaia", gold), prediction).correct is expected
