"""A task for a scorer."""

from __future__ import annotations

from typing import Any

from evals.task import Task

OPTIONS = ("Dementia", "Opioid intoxication", "Delirium", "Urinary tract infection")


def task(scorer: str, *answers: str, question: str = "A question?", **more: Any) -> Task:
    if scorer == "choice":
        more.setdefault("choices", OPTIONS)
    if scorer == "gameof24":
        more.setdefault("metadata", {"numbers": (1, 3, 4, 6)})
    return Task("t", question, answers, scorer=scorer, **more)
