"""A step of a run as labelled lines, in the words that the page uses too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graph.rendering import arguments_text
from graph.state import FINISH, Plan, Turn
from graph.terminal.text import Line
from graph.words import judged_words, planned_words


def lines_of(module: str, update: Mapping[str, Any]) -> list[Line]:
    """What a module has just written into the state."""
    seconds = float(update.get("seconds") or 0.0)
    if module == "planner":
        return _planned(update, seconds)
    if module == "executor":
        return _executed(update, seconds)
    if module == "verifier":
        return [_judged(update["memory"][0], seconds)]
    return []


def _planned(update: Mapping[str, Any], seconds: float) -> list[Line]:
    lines = [Line("analyst", update["analysis"], "dim")] if update.get("analysis") else []
    plan: Plan | None = update.get("plan")
    if plan is None:
        return lines
    lines.append(Line("planner", planned_words(plan), "red" if plan["error"] else "cyan", seconds))
    if plan["justification"] and not plan["error"] and plan["tool_name"] != FINISH:
        lines.append(Line("", plan["justification"], "dim"))
    return lines


def _executed(update: Mapping[str, Any], seconds: float) -> list[Line]:
    lines = []
    if (plan := update.get("plan")) and plan["error"]:
        lines.append(Line("executor", plan["error"]["message"], "red", seconds))
    for call in update["calls"]:
        lines.append(Line("executor", arguments_text(call), "blue", seconds))
        failed = call["error"]
        lines.append(Line("", failed["message"] if failed else call["result"], "red" if failed else ""))
    return lines


def _judged(turn: Turn, seconds: float) -> Line:
    verdict = turn["verdict"]
    words = judged_words(verdict, turn["error"])
    return Line("verifier", words, "green" if verdict["accepted"] else "red", seconds)
