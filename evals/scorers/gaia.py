"""GAIA's own rules (arXiv 2311.12983, and the scorer of its leaderboard), for numbers, lists and strings.

The reference answer decides the kind: a number is compared as a number after `$`, `%` and thousands separators are
taken away; an answer with a comma or semicolon is a list, compared element by element in order; anything else is a
string, compared without white space, case and punctuation (elements of a list keep their punctuation).
"""

from __future__ import annotations

import math
import re
import string

from evals.scorers.final import final_answers
from evals.task import Score, Task, right, wrong

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def score_gaia(task: Task, prediction: object) -> Score:
    """Right if a reading of the prediction equals a reference answer under GAIA's rules."""
    readings = final_answers(prediction)
    if not readings:
        return wrong("No answer was given.")
    for gold in task.answers:
        for reading in readings:
            if gaia_equal(gold, reading):
                return right(f"Equals the reference answer {gold!r}.")
    return wrong("Does not equal the reference answer.")


def gaia_equal(gold: str, prediction: str) -> bool:
    """Whether a prediction equals one reference answer."""
    if (number := _number(gold)) is not None:
        return _number(prediction, separators=True) == number
    if "," in gold or ";" in gold:
        wanted, given = re.split(r"[,;]", gold), re.split(r"[,;]", prediction)
        return len(wanted) == len(given) and all(
            _element_equal(want, got) for want, got in zip(wanted, given, strict=True)
        )
    return _squeezed(gold).translate(_PUNCTUATION) == _squeezed(prediction).translate(_PUNCTUATION)


def _element_equal(gold: str, prediction: str) -> bool:
    if (number := _number(gold)) is not None:
        return _number(prediction, separators=True) == number
    return _squeezed(gold) == _squeezed(prediction)


def _number(text: str, separators: bool = False) -> float | None:
    """The finite number that a text is; with `separators`, after `$`, `%` and commas are taken away."""
    if separators:
        text = text.replace("$", "").replace("%", "").replace(",", "")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _squeezed(text: str) -> str:
    return re.sub(r"\s", "", text).lower()
