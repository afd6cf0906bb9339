"""Exact scorers, one module per kind of answer.

A scorer is a function from a task and a prediction to a `Score`. It never raises, whatever the prediction holds, and
never hangs: texts are cut to a bounded length, every pattern is linear, and symbolic mathematics runs in a process
that is ended when it takes too long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evals.scorers.choice import score_choice
from evals.scorers.gaia import score_gaia
from evals.scorers.game24 import score_game24
from evals.scorers.match import score_match
from evals.scorers.maths import score_math
from evals.task import Score, Task
from graph.errors import ConfigError

Scorer = Callable[[Task, object], Score]

SCORERS: Mapping[str, Scorer] = {
    "match": score_match,
    "math": score_math,
    "gameof24": score_game24,
    "choice": score_choice,
    "gaia": score_gaia,
}
"""Scorers by the name that a `Task` gives in its `scorer` field."""


def score(task: Task, prediction: object) -> Score:
    """Judge a prediction with the scorer that the task names.

    Args:
        task: the question with its reference answers.
        prediction: what was answered; anything but a string is a wrong answer.

    Raises:
        ConfigError: if the task names no known scorer (the prediction can never cause an error).
    """
    scorer = SCORERS.get(task.scorer)
    if scorer is None:
        known = ", ".join(sorted(SCORERS))
        raise ConfigError(f"Task {task.id} names the scorer {task.scorer!r}, which does not exist; use one of {known}.")
    return scorer(task, prediction)


__all__ = ["SCORERS", "Scorer", "score"]
