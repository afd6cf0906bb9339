"""One-line summaries of steps for people, the same in the terminal and on the page of `evals view`.

Modules are called by their node names (`planner`, `executor`, `verifier`, `generator`) everywhere, as in Studio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graph.memory import accepted_turns
from graph.state import FINISH, State
from tools.counts import many


def planned_words(plan: Mapping[str, Any]) -> str:
    """The planned step in one line."""
    if plan.get("error"):
        return f"no usable step: {plan['error']['message']}"
    if plan.get("tool_name") == FINISH:
        return "the last result answers the question"
    return f"{plan.get('tool_name', '')}: {plan.get('sub_goal') or plan.get('input', '')}"


NONE, UNKNOWN = "none", "unknown"


def tool_label(turn: Mapping[str, Any]) -> str:
    """The tool of a turn, for tables and charts.

    `none` where its plan names none, and `unknown` where it names no tool of the run: a model may invent any number of
    names.
    """
    plan, error = turn.get("plan"), turn.get("error")
    if not isinstance(plan, Mapping):
        return NONE
    error = error or plan.get("error")
    if isinstance(error, Mapping) and error.get("kind") == "unknown_tool":
        return UNKNOWN
    return str(plan.get("tool_name") or NONE)


def speakers(turns: Sequence[Mapping[str, Any]], roles: Sequence[str]) -> list[str]:
    """The role whose reply each turn of another graph is; empty for turns of AgentFlow, which are planned and judged.

    Args:
        turns: Those of a rollout.
        roles: Of the calls of the policy, one for each turn in a run of another graph.
    """
    if len(roles) != len(turns):
        roles = [""] * len(turns)
    return [_speaker(turn, role) for turn, role in zip(turns, roles, strict=True)]


def _speaker(turn: Mapping[str, Any], role: str) -> str:
    """Older rollouts do not say it in the turn: it has no plan then, and as observation what the tools returned."""
    if turn.get("role"):
        return str(turn["role"])
    plan, calls = turn.get("plan"), turn.get("calls")
    if not isinstance(plan, Mapping) or not isinstance(calls, list):
        return ""
    planned = any(plan.get(part) for part in ("context", "sub_goal", "input"))
    results = "\n".join(str(call.get("result")) for call in calls if isinstance(call, Mapping))
    return "" if planned or turn.get("observation") != results else role


def judged_words(verdict: Mapping[str, Any], error: Mapping[str, Any] | None) -> str:
    """The verdict and its reason in one line."""
    reason = verdict.get("reason") or (error or {"message": "the rules found nothing wrong"})["message"]
    if verdict.get("missing"):
        reason += f" (missing: {verdict['missing']})"
    word = "accepted" if verdict.get("accepted") else "rejected"
    return f"{word}{', stop' if verdict.get('stop') else ''}: {reason}"


def ended_words(turns: int, seconds: float, ended_by: str) -> str:
    """The end of a run in one line."""
    summary = f"{many(turns, 'turn')}, {seconds:.1f} s"
    return summary + (f", ended by {ended_by}" if ended_by else "")


_MORE = {"time": "`--max-seconds S` gives a run more time.", "turns": "`--max-turns N` allows more turns."}


def unsupported_words(state: State) -> str:
    """A warning about an answer of the agent that rests on no accepted result; empty where one was accepted.

    Where there is no answer either, only what would help is said.
    """
    if not state.get("ended_by") or accepted_turns(state):
        return ""
    warning = "No accepted result supports this answer; take it as a guess." if state.get("answer") else ""
    return f"{warning} {_MORE.get(state['ended_by'], '')}".strip()


USAGE_COLUMNS = ("role", "calls", "tokens in", "tokens out", "seconds")
"""Column heads of the cost table."""
