"""What follows a step in any case, so that no model has to be asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from graph.checks.evidence import Evidence
from graph.state import Verdict


@dataclass(frozen=True)
class NextStep:
    """A step that is taken without asking the planner."""

    tool: str
    justification: str
    context: str
    sub_goal: str


@dataclass(frozen=True)
class Foreseen:
    """The verdict on a step, and the step that it calls for; without one the run ends."""

    verdict: Verdict
    next_step: NextStep | None


Foresight: TypeAlias = Callable[[Evidence], Foreseen | None]
"""Gives what follows the step being judged in any case, or None: the verifier and the planner are asked."""
