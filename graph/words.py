"""What a step is called when people read about it: one wording for the terminal and for the page of `evals view`.

Modules bear their node names (`planner`, `executor`, `verifier`, `generator`) everywhere, in Studio too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graph.state import FINISH


def planned_words(plan: Mapping[str, Any]) -> str:
    """What the planner wants done, in one line."""
    if plan.get("error"):
        return f"no usable step: {plan['error']['message']}"
    if plan.get("tool_name") == FINISH:
        return "the last result answers the question"
    return f"{plan.get('tool_name', '')}: {plan.get('sub_goal') or plan.get('input', '')}"


def judged_words(verdict: Mapping[str, Any], error: Mapping[str, Any] | None) -> str:
    """What the verifier decided, and why, in one line."""
    reason = verdict.get("reason") or (error or {"message": "the rules found nothing wrong"})["message"]
    if verdict.get("missing"):
        reason += f" (missing: {verdict['missing']})"
    word = "accepted" if verdict.get("accepted") else "rejected"
    return f"{word}{', stop' if verdict.get('stop') else ''}: {reason}"


def ended_words(turns: int, seconds: float, ended_by: str) -> str:
    """How a run ended, in one line."""
    said = f"{turns} turn{'s' if turns != 1 else ''}, {seconds:.1f} s"
    return said + (f", ended by {ended_by}" if ended_by else "")


USAGE_COLUMNS = ("role", "calls", "tokens in", "tokens out", "seconds")
"""Heads of the table of what each role has cost."""
