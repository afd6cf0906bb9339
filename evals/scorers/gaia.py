"""GAIA's own rules (arXiv 2311.12983, and the scorer of its leaderboard), for numbers, lists and strings.

The reference answer decides the kind: a number is compared as a number after `$`, `%` and thousands separators are
taken away; an answer with a comma or semicolon is a list, compared element by element in order; anything else is a
string, compared without white space, case and punctuation (elements of a list keep their punctuation).

Where the leaderboard's own code would change a value on the way, it is not followed: `1,2` is not 12, `1.5 l` is not
15 l, `C++` is not C.
"""

from __future__ import annotations

import re
import string
from fractions import Fraction

from evals.scorers.final import final_answers
from evals.scorers.forms import same_in_another_form
from evals.task import Score, Task, right, wrong

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d{1,300})?(?:\.\d{0,300})?(?:[eE][-+]?\d{1,3})?", re.ASCII)
_MEANINGFUL = re.compile(
    r"(?<=\d)[^\w\s]+(?=\d)|(?<!\w)[-−](?=\d)|(?<=\w)[+#]+(?!\w)|[<>=^](?=\s?\d)|(?<=\d)\s+(?=\d)", re.ASCII
)
"""Punctuation that is part of a value: between digits, a sign, `C++`, `<5`; and the space between two numbers."""
_PUNCTUATION = re.compile(rf"[{re.escape(string.punctuation)}\s]")


def score_gaia(task: Task, prediction: object) -> Score:
    """Right if a reading of the prediction equals a reference answer under GAIA's rules."""
    readings = final_answers(prediction)
    if not readings:
        return wrong("No answer was given.")
    for gold in task.answers:
        for reading in readings:
            if gaia_equal(gold, reading):
                return right(f"Equals the reference answer {gold!r}.")
    for gold in task.answers:
        for reading in readings:
            if not _is_list(gold) and same_in_another_form(gold, reading, task.question):
                return right(f"Says the reference answer {gold!r} in another form.").leniently()
    return wrong("Does not equal the reference answer.")


def gaia_equal(gold: str, prediction: str) -> bool:
    """Whether a prediction equals one reference answer."""
    if (number := _number(gold)) is not None:
        return _number(_without_signs(prediction)) == number
    if _is_list(gold):
        wanted, given = re.split(r"[,;]", gold), re.split(r"[,;]", prediction)
        return len(wanted) == len(given) and all(
            _element_equal(want, got) for want, got in zip(wanted, given, strict=True)
        )
    return _bare(gold) == _bare(prediction)


def _is_list(gold: str) -> bool:
    return ("," in gold or ";" in gold) and _number(gold) is None


def _element_equal(gold: str, prediction: str) -> bool:
    if (number := _number(gold)) is not None:
        return _number(_without_signs(prediction)) == number
    return _squeezed(gold) == _squeezed(prediction)


def _without_signs(text: str) -> str:
    return text.replace("$", "").replace("%", "")


def _number(text: str) -> Fraction | None:
    """The finite number that a text is, with or without thousands separators in their places."""
    text = text.strip()
    if not _NUMBER.fullmatch(text) or not any(map(str.isdigit, text)) or text[:1] in "eE":
        return None
    return Fraction(text.replace(",", "") if not text.endswith(".") else text.replace(",", "") + "0")


def _squeezed(text: str) -> str:
    """A text without white space, except between two numbers, and in small letters."""
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text.strip()).lower()


def _bare(text: str) -> str:
    """A text without white space, case and the punctuation that is no part of a value; one of signs alone as it is."""
    parts: list[str] = []
    position = 0
    for match in _MEANINGFUL.finditer(text):
        parts += [_PUNCTUATION.sub("", text[position : match.start()]), match[0].strip() or " "]
        position = match.end()
    return "".join([*parts, _PUNCTUATION.sub("", text[position:])]).lower() or text.strip()
