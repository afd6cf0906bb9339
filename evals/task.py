"""A question and the score of an answer: the two records shared by benchmarks, scorers, the runner and training.

A `Task` holds everything needed to ask the question and to judge the answer. Only `prompt` is ever shown to an agent;
the reference answers and the metadata are for the scorer and the reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from string import ascii_uppercase
from typing import Any


@dataclass(frozen=True)
class Task:
    """One question with its reference answers."""

    id: str
    """Unique within its benchmark."""
    question: str
    """Without multiple-choice options and answer-format instructions."""
    answers: tuple[str, ...]
    """Reference answers; any one of them is correct. For multiple choice, texts of options, not letters."""
    choices: tuple[str, ...] | None = None
    """The options in order, without letters."""
    scorer: str = "match"
    """A key of `evals.scorers.SCORERS`."""
    benchmark: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Other information (level, numbers of a puzzle, supporting titles). Never shown to the agent."""

    @property
    def prompt(self) -> str:
        """The question as shown to the agent, with lettered options if there are any."""
        if not self.choices:
            return self.question
        options = "\n".join(f"{letter}. {text}" for letter, text in zip(ascii_uppercase, self.choices, strict=False))
        return f"{self.question}\n\n{options}\n\nAnswer with the letter of the right option."


@dataclass(frozen=True)
class Score:
    """A scorer's verdict on one prediction, under two sets of rules.

    The exact rules are those of published figures. The lenient ones also accept an answer that says the same in
    another form ("about 52 years" for 52); whatever is right under the exact rules is right under the lenient ones.
    """

    correct: bool
    """Under the lenient rules."""
    exact: bool
    """Under the exact rules."""
    value: float
    """In [0, 1]: 1.0 when correct; token F1 or another partial measure where the scorer has one, else 0.0."""
    reason: str
    """One sentence for people who read the run."""

    def leniently(self) -> Score:
        """This verdict, if it was reached by a rule that only the lenient ones have."""
        return replace(self, exact=False)


def right(reason: str) -> Score:
    """A full score."""
    return Score(correct=True, exact=True, value=1.0, reason=reason)


def wrong(reason: str, value: float = 0.0) -> Score:
    """A wrong answer; `value` may say how close it came."""
    return Score(correct=False, exact=False, value=value, reason=reason)
