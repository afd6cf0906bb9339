"""Checks of a finished step (unreadable, failed, empty, repeated), and whether a run is going in circles."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from graph.state import FINISH, Failure, Plan, ToolCall, Turn


@dataclass(frozen=True)
class Step:
    """A step that has been carried out but not judged."""

    plan: Plan
    calls: list[ToolCall]
    memory: list[Turn]
    """The turns before it."""


StepCheck: TypeAlias = Callable[[Step], Failure | None]
"""Gives the reason to reject a step without asking a model, or None."""


def failure_of(step: Step, checks: Sequence[StepCheck]) -> Failure | None:
    """The first reason to reject a step, or None."""
    return next((failure for check in checks if (failure := check(step)) is not None), None)


def unreadable(step: Step) -> Failure | None:
    """The plan names no usable step, or the executor wrote no valid arguments for it."""
    return step.plan["error"]


def nothing_to_finish(step: Step) -> Failure | None:
    """The planner finishes a run that has no accepted result."""
    if step.plan["tool_name"] != FINISH or any(turn["verdict"]["accepted"] and turn["calls"] for turn in step.memory):
        return None
    return Failure(kind="plan", message="there is no result yet to finish with")


def all_failed(step: Step) -> Failure | None:
    """No call succeeded. If only some failed, the turn is kept and they are shown as failed."""
    return step.calls[0]["error"] if step.calls and all(call["error"] is not None for call in step.calls) else None


def empty(step: Step) -> Failure | None:
    """No call returned anything. An empty list is a value: that there are none may be the answer."""
    if step.plan["tool_name"] == FINISH:
        return None
    if any(call["error"] is None and call["result"].strip() for call in step.calls):
        return None
    return Failure(kind="empty", message=f"{step.plan['tool_name']} ended without an error and returned nothing")


def repeated(step: Step) -> Failure | None:
    """Every call was made before, and its result was accepted.

    A call whose result was rejected may be repeated: the planner insists, so it is judged again.
    """
    accepted = {
        _key(turn["plan"]["tool_name"], call)
        for turn in step.memory
        if turn["verdict"]["accepted"]
        for call in turn["calls"]
        if call["error"] is None
    }
    if not step.calls or not all(_key(step.plan["tool_name"], call) in accepted for call in step.calls):
        return None
    return Failure(kind="repeat", message="the same call was made before and its result is known; take another step")


def _key(tool: str, call: ToolCall) -> str:
    return tool + json.dumps(call["arguments"], sort_keys=True, default=str)


_STUCK = ((3, 1), (4, 2))
"""Pairs of: rejected steps in a row, and the number of different ones at or below which the planner is stuck."""


def is_stuck(memory: list[Turn]) -> bool:
    """Whether the planner is going in circles: one rejected step three times, or two alternating."""
    return any(
        len(last := memory[-count:]) == count
        and len({(turn["plan"]["tool_name"], turn["plan"]["sub_goal"], turn["plan"]["input"]) for turn in last})
        <= kinds
        and not any(turn["verdict"]["accepted"] for turn in last)
        for count, kinds in _STUCK
    )
