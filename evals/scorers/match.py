"""Normalised exact match with aliases, for short free-text answers; token F1 as the partial measure.

Exact match decides. F1 is reported beside it, computed on the same tokens, the best over the aliases (the definition
of SQuAD's and HotpotQA's scripts, where a yes or no earns nothing for a near miss).
"""

from __future__ import annotations

import re
from collections import Counter

from evals.scorers.dates import parse_date
from evals.scorers.denials import affirmed
from evals.scorers.final import final_answers
from evals.scorers.forms import same_in_another_form
from evals.scorers.normal import same_tokens, tokens
from evals.scorers.words import words
from evals.task import Score, Task, right, wrong

_DETERMINER = re.compile(
    r"no\s+(?!(?:it|they|he|she|we|i|you|this|that|these|those|both|neither|the|there|because|since|as|not|only|but)\b)\w",
    re.IGNORECASE,
)
"""A "no" that belongs to a noun."""
_NOT = words("not never isnt arent wasnt werent dont doesnt didnt cannot cant hasnt havent")
_YES_NO = {"yes": "yes", "no": "no", "true": "yes", "false": "no"}


def same_answer(gold: str, prediction: str) -> bool:
    """Whether two short answers say the same: equal as dates where both are dates, equal as tokens otherwise."""
    if gold == prediction:
        return bool(gold.strip())
    gold_date, predicted_date = parse_date(gold), parse_date(prediction)
    if gold_date is not None and predicted_date is not None:
        return gold_date == predicted_date
    gold_tokens = tokens(gold)
    return bool(gold_tokens) and same_tokens(gold_tokens, tokens(prediction))


def token_f1(gold: str, prediction: str) -> float:
    """Harmonic mean of precision and recall over tokens, in [0, 1]; 0.0 if either side is a differing yes or no."""
    gold_tokens, predicted = tokens(gold), tokens(prediction)
    if (_polarity(gold_tokens) or _polarity(predicted)) and gold_tokens != predicted:
        return 0.0
    shared = (Counter(gold_tokens) & Counter(predicted)).total()
    return 2 * shared / (len(gold_tokens) + len(predicted)) if shared else 0.0


def score_match(task: Task, prediction: object) -> Score:
    """Right if a reading of the prediction equals one of the reference answers."""
    readings = final_answers(prediction)
    if not readings:
        return wrong("No answer was given.")
    golds = [gold for gold in task.answers if gold.strip()]
    if golds and all(gold.strip().casefold() in ("yes", "no") for gold in golds):
        return _score_yes_no(golds, readings)
    for reading in readings:
        for gold in golds:
            if same_answer(gold, reading):
                return right(f"Equals the reference answer {gold!r}.")
    for reading in readings:
        for gold in golds:
            if same_in_another_form(gold, reading, task.question):
                return right(f"Says the reference answer {gold!r} in another form.").leniently()
    value = max((token_f1(gold, reading) for gold in golds for reading in readings), default=0.0)
    # The bags of tokens can be equal while the order is not, which is still no match.
    return wrong("Equals none of the reference answers.", value=min(value, 0.99))


def _polarity(found: list[str]) -> str | None:
    return _YES_NO.get(found[0]) if len(found) == 1 else None


def _score_yes_no(golds: list[str], readings: tuple[str, ...]) -> Score:
    """A yes or no, with or without an explanation after it, as long as the explanation does not say the opposite."""
    expected = {gold.strip().casefold() for gold in golds}
    for reading in readings:
        said = _said(affirmed(reading))
        if said is None:
            continue
        if not said:
            return wrong("Says both yes and no.")
        verdict = right(f"Says {said}.") if said in expected else wrong(f"Says {said}.")
        return verdict if _said(reading) == said else verdict.leniently()
    return wrong("Says neither yes nor no.")


def _said(text: str) -> str | None:
    """The yes or no that a text begins with; empty if it says both; None if it begins with neither ("no idea")."""
    found = tokens(text)
    said = _YES_NO.get(found[0]) if found else None
    if said is None or _DETERMINER.match(text.lstrip(" *_\"'")):
        return None
    rest = found[1:]
    opposite = "no" if said == "yes" else "yes"
    # "No, it is not true" says no once more.
    plain = [word for before, word in zip([found[0], *rest], rest, strict=False) if before not in ("not", "isnt")]
    contradicts = opposite in rest or (said == "yes" and bool(_NOT & set(rest[:4])))
    contradicts |= any(_YES_NO.get(word) == opposite for word in plain)
    return "" if contradicts else said
