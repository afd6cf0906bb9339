"""Checks of a finished step: unreadable, failed, empty, repeated; and whether a run goes round in circles."""

from __future__ import annotations

import json

from graph.state import FINISH, Failure, Plan, ToolCall, Turn

_STUCK = ((3, 1), (4, 2))
"""Rejected steps in a row, and how few different ones among them show that the planner will not find another."""


def is_stuck(memory: list[Turn]) -> bool:
    """Whether the planner goes round in circles: the same rejected step three times, or two of them in turn."""
    return any(
        len(last := memory[-count:]) == count
        and len({(turn["plan"]["tool_name"], turn["plan"]["sub_goal"], turn["plan"]["input"]) for turn in last})
        <= kinds
        and not any(turn["verdict"]["accepted"] for turn in last)
        for count, kinds in _STUCK
    )


def check(plan: Plan, calls: list[ToolCall], memory: list[Turn]) -> Failure | None:
    """The checks that need no model: the reason to reject a turn, or None.

    A turn of several calls is rejected only when none of them worked; failed calls of a turn that is kept are shown as
    failed.
    """
    if plan["error"] is not None:
        return plan["error"]
    if plan["tool_name"] == FINISH:
        if not any(turn["verdict"]["accepted"] and turn["calls"] for turn in memory):
            return Failure(kind="plan", message="there is no result yet to finish with")
        return None
    if calls and all(call["error"] is not None for call in calls):
        return calls[0]["error"]
    if not any(call["error"] is None and call["result"].strip() for call in calls):
        return Failure(kind="empty", message=f"{plan['tool_name']} returned nothing")
    # A call whose result was rejected may be made again: the planner insists on it, and it is judged once more.
    done = {
        _key(turn["plan"]["tool_name"], call)
        for turn in memory
        if turn["verdict"]["accepted"]
        for call in turn["calls"]
        if call["error"] is None
    }
    if all(_key(plan["tool_name"], call) in done for call in calls):
        return Failure(
            kind="repeat", message="the same call was made before and its result is known; take another step"
        )
    return None


def _key(tool: str, call: ToolCall) -> str:
    return tool + json.dumps(call["arguments"], sort_keys=True, default=str)
