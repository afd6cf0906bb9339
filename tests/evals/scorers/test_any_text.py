"""Whatever a model writes, every scorer comes to a verdict."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.scorers import SCORERS, score
from graph.errors import ConfigError

from .asked import task

FORMULA_SIGNS = st.sampled_from(["\\frac", "{", "}", "\\sqrt", "^", "_", "!", "\\boxed{", "$", "<answer>", "(", ")"])


TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(st.one_of(FORMULA_SIGNS, st.sampled_from("0123456789xyn+-*/=.,ABCD \n")), max_size=60).map("".join),
    st.sampled_from(
        ["\x00", "\ud800", "²", "1e999999999", "1_000", "٣٫٥", "½", "𐩀", "9" * 30_000, "a" * 200_000, "(" * 30_000]
    ),
)


@pytest.mark.parametrize("scorer", [name for name in SCORERS if name != "math"])
@settings(max_examples=150)
@given(gold=TEXTS, prediction=TEXTS)
def test_no_text_makes_a_scorer_raise(scorer: str, gold: str, prediction: str) -> None:
    verdict = score(task(scorer, gold), prediction)
    assert 0.0 <= verdict.value <= 1.0
    assert verdict.reason
    assert verdict.correct == (verdict.value == 1.0)


@settings(max_examples=60)
@given(gold=st.sampled_from(["27", "\\frac{3}{4}"]), prediction=TEXTS)
def test_no_text_makes_the_maths_raise_or_hang(gold: str, prediction: str) -> None:
    began = time.monotonic()
    verdict = score(task("math", gold), prediction)
    assert verdict.reason
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("scorer", list(SCORERS))
@pytest.mark.parametrize("prediction", [None, 42, 1.5, b"x", ["A"], object()])
def test_what_is_no_text_is_wrong(scorer: str, prediction: object) -> None:
    assert not score(task(scorer, "42"), prediction).correct


def test_an_unknown_scorer_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        score(task("taste", "sweet"), "sweet")
