"""Where the final answer stands in a longer reply, under the exact rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.scorers import score

from .asked import task

KINDS = [
    ("math", "25"),
    ("gaia", "25"),
    ("match", "Paris"),
    ("match", "J. K. Rowling"),
    ("gaia", "C++"),
    ("choice", "C"),
]
ANNOUNCED = [
    "The answer is **{}**.", "Answer: **{}**", "**Final answer: {}**", "**The answer is: {}**", "**Answer:** {}",
    "**Answer:**{}", "**Answer:**\n{}", "**Answer**: {}", "- **Answer**: **{}**", "*Answer: {}*", "The answer is *{}*.",
    "The answer is _{}_.", "The answer is ***{}***.", "The answer is **{}", "**So the answer is {}.**", "Answer：{}",
    "Final Answer: The final answer is {}. I hope it is correct.", "The answer is {}. It follows from the above.",
    "The answer is **{}**. Let me know if you have questions!", "5*5 is computed first.\n#### {}", "#### {}",
    "Note that **one** thing is bold. The answer is **{}**.",
]  # fmt: skip
HEDGED = [
    "The answer is {}. Or {other}.", "The answer is {}. It could also be {other}.", "The answer is {}. I am not sure.",
    "The answer is {}. That is wrong.", "The answer is {}. I made a mistake.", "The answer is **{}** or **{other}**.",
    "The answer is **not {}**.", "The answer is not **{}**.", "**{}** or {other}", "#### {} or {other}", "#### not {}",
    "If it is odd, the answer is {}. I hope it is correct.", "I doubt the answer is {}. I hope it is correct.",
    "#### {}\n\nHowever, the answer is {other}.", "The answer is {}? I hope so.", "The answer is **{}, {other}**.",
    "The answer is {}. This is only a guess.", "#### {}\n#### {other}", "The answer is {other}. It is {}.",
]  # fmt: skip


def exact(scorer: str, gold: str, prediction: str) -> bool:
    reference = "Delirium" if scorer == "choice" else gold
    return score(task(scorer, reference), prediction).exact


@pytest.mark.parametrize(("scorer", "gold"), KINDS)
def test_an_announced_answer_is_found(scorer: str, gold: str) -> None:
    assert [form for form in ANNOUNCED if not exact(scorer, gold, form.format(gold))] == []


@pytest.mark.parametrize(("scorer", "gold", "other"), [("math", "25", "26"), ("match", "Paris", "London"),
                                                       ("gaia", "25", "26")])  # fmt: skip
def test_an_announced_answer_that_is_left_open_or_one_of_several_is_none(scorer: str, gold: str, other: str) -> None:
    assert [form for form in HEDGED if score(task(scorer, gold), form.format(gold, other=other)).correct] == []
    assert [form for form in ANNOUNCED if score(task(scorer, gold), form.format(other)).correct] == []


@pytest.mark.parametrize(
    ("scorer", "gold", "prediction"),
    [
        ("match", "1", "Answer: 1. The Rhine 2. The Rhone"),
        ("match", "J", "The answer is J. K. Rowling. She wrote it."),
        ("match", "St", "The answer is St. Louis. It is a city."),
        ("math", "2", "The answer is 2.5. It is correct."),
        ("math", "25", "#### Step 1: 25\n26"),
        ("math", "25", "##### 25"),
        ("math", "6", "The answer is **2**3**."),
    ],
)
def test_a_part_of_an_answer_is_none(scorer: str, gold: str, prediction: str) -> None:
    assert not score(task(scorer, gold), prediction).correct


@pytest.mark.parametrize(
    ("scorer", "gold", "prediction"),
    [
        ("math", "8", "The answer is 2**3."),
        ("math", "30", "As 2*3 is 6, the answer is 5*6"),
        ("match", "Paris", 'The answer is "Paris." It is the capital of France.'),
        ("match", "Dr. No", "The answer is Dr. No. It is a film."),
        ("match", "yes", "The answer is **yes**. Both are."),
        ("math", "\\frac{1}{2}", "The answer is **$\\frac{1}{2}$**."),
    ],
)
def test_stars_and_stops_of_the_answer_itself_stay(scorer: str, gold: str, prediction: str) -> None:
    assert exact(scorer, gold, prediction)


@given(st.integers(0, 999), st.integers(0, 999), st.sampled_from(ANNOUNCED))
def test_an_announced_number_is_itself_and_no_other(number: int, other: int, form: str) -> None:
    assert exact("math", str(number), form.format(other)) is (number == other)
