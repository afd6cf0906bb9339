"""The parts of a pass rate: readable replies, the right tools, the right input, the right answer.

A task can say which steps lead to its answer (`metadata["steps"]`, a list of `tool` with `input` or `result`; see
`training.town`). A step is found in a run if one of its turns, later than those of the earlier steps, took it. So the
parts are nested: the right input implies the right tool. A policy whose gain lies in the first part has learned a
format, not a strategy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from evals.task import Task
from graph.errors import DataError
from graph.rendering import arguments_text
from graph.state import ToolCall
from training.rollouts.records import Rollout

PARTS = ("valid_format", "right_tool", "right_input", "solved")
"""In order; `right_tool` and `right_input` exist for tasks that name their steps."""

_Step = Mapping[str, Any]
_Turn = Mapping[str, Any]


def parts_of(rollout: Rollout) -> dict[str, bool]:
    """Which parts of one run are right; none after an infrastructure failure.

    `valid_format`: every reply of the planner named a tool; `right_tool`: each of the task's steps was taken with its
    tool, in order; `right_input`: and with the input that it needs; `solved`: the answer is right.

    Raises:
        DataError: the task's steps are not in the form described above.
    """
    memory = list(rollout.memory)
    steps = _steps(rollout.task)
    found = {"valid_format": bool(memory) and all(_readable(turn) for turn in memory)}
    if steps:
        found["right_tool"] = _taken(steps, memory, _has_tool)
        found["right_input"] = _taken(steps, memory, _has_input)
    found["solved"] = is_solved(rollout)
    return found


def is_solved(rollout: Rollout) -> bool:
    """Whether a run earned the full outcome reward."""
    return rollout.rewards.get("outcome", rollout.reward or 0.0) >= 1.0


def breakdown(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """The share of runs for each part; of `right_tool` and `right_input`, among those whose task names its steps."""
    every = [parts_of(rollout) for rollout in rollouts]
    known = [name for name in PARTS if any(name in parts for parts in every)]
    return {name: fmean(parts[name] for parts in every if name in parts) for name in known}


def _steps(task: Task) -> Sequence[_Step]:
    steps = task.metadata.get("steps") or ()
    if not isinstance(steps, list | tuple) or not all(isinstance(step, Mapping) and "tool" in step for step in steps):
        raise DataError(
            f"The task {task.id} has `steps` that cannot be read; write a list of objects with `tool` and, if known, "
            "`input` or `result`."
        )
    return steps


def _readable(turn: _Turn) -> bool:
    error = turn["plan"]["error"]
    return error is None or error["kind"] == "unknown_tool"  # that reply had the form, and a wrong name in it


def _taken(steps: Sequence[_Step], memory: Sequence[_Turn], fits: Callable[[_Step, _Turn], bool]) -> bool:
    """Whether the turns contain all steps in order, with or without other turns between them."""
    turns = iter(memory)
    return all(any(fits(step, turn) for turn in turns) for step in steps)


def _has_tool(step: _Step, turn: _Turn) -> bool:
    if turn["plan"]["error"] is not None:
        return False
    return turn["plan"]["tool_name"] == step["tool"] or bool(_calls(step, turn))


def _calls(step: _Step, turn: _Turn) -> list[ToolCall]:
    """The turn's calls of the step's tool."""
    planned = turn["plan"]["tool_name"]
    return [call for call in turn["calls"] if call.get("tool", planned) == step["tool"]]


def _has_input(step: _Step, turn: _Turn) -> bool:
    if not _has_tool(step, turn):
        return False
    calls = _calls(step, turn)
    if "input" in step:
        given = [turn["plan"]["input"], *(arguments_text(call) for call in calls)]
        return _plain(step["input"]) in map(_plain, given)
    if "result" in step:
        return _plain(step["result"]) in (_plain(call["result"]) for call in calls if call["error"] is None)
    return True


def _plain(text: object) -> str:
    """Without differences that no tool notices."""
    return "".join(str(text).split()).casefold()
