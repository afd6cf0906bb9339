"""When one run is called better than another."""

from __future__ import annotations

from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.__main__ import main
from evals.reports.intervals import Paired
from evals.view.comparison import comparison
from evals.view.library import Library

from .test_report import folder, result


def paired(questions: int, won: int, lost: int) -> Paired:
    return Paired.of(np.array([1.0] * won + [-1.0] * lost + [0.0] * (questions - won - lost)), 0)


@pytest.mark.parametrize(
    ("questions", "won", "lost", "p", "direction"),
    [
        (2, 2, 0, 0.5, ""),
        (200, 4, 0, 0.125, ""),
        (200, 5, 0, 0.0625, ""),
        (200, 6, 0, 0.03125, "better"),
        (200, 0, 6, 0.03125, "worse"),
        (200, 12, 3, 0.03515625, "better"),
        (200, 11, 4, 0.11846923828125, ""),
        (30, 0, 0, 1.0, ""),
        (30, 5, 5, 1.0, ""),
    ],
)
def test_few_questions_that_differ_tell_nothing(questions: int, won: int, lost: int, p: float, direction: str) -> None:
    found = paired(questions, won, lost)
    assert found.p == pytest.approx(p)
    assert found.direction == direction


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 20))
def test_the_verdict_turns_round_with_the_runs(won: int, lost: int, same: int) -> None:
    found, turned = paired(won + lost + same, won, lost), paired(won + lost + same, lost, won)
    assert found.p == turned.p <= 1
    assert turned.direction == {"better": "worse", "worse": "better", "": ""}[found.direction]
    if found.direction:
        assert sum(comb(won + lost, n) for n in range(min(won, lost) + 1)) / 2 ** (won + lost) < 0.025


def test_a_win_of_many_small_losses_is_none() -> None:
    """Several answers to a question weigh more in the mean than in the sign."""
    found = Paired.of(np.array([1.0] * 8 + [-0.05] * 40), 0)
    assert found.interval[0] > 0
    assert found.direction == ""


@pytest.mark.parametrize(("wins", "words"), [(4, "There is no significant difference"), (6, "b is better")])
def test_compare_and_the_page_say_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wins: int, words: str
) -> None:
    folders = [
        folder(tmp_path / name, [result(str(n), right and n < wins) for n in range(40)])
        for name, right in (("a", False), ("b", True))
    ]
    assert main(["compare", *map(str, folders)]) == 0
    said = capsys.readouterr().out
    p = {4: "0.125", 6: "0.0312"}[wins]
    assert f"{words} (95 % bootstrap interval over questions, 10,000 resamples; exact sign test over the" in said
    assert f"{wins} questions that differ: p = {p})." in said
    before, after = (source.index.rows for source in Library(folders).sources)
    shown = comparison(before, after)
    assert shown["direction"] == ("better" if wins == 6 else "")
    assert shown["grounds"] in said
