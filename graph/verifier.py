"""The verifier: blocks what did not work, judges what did, and decides whether the run goes on.

Rules come first: an unreadable step, an unknown tool, bad arguments, an error, an empty result and a repeat of an
accepted call are rejected without asking a model, and their results never reach the generator.
"""

from __future__ import annotations

import json
from typing import Any, cast

from graph.answers import form_complaint, source_complaint
from graph.errors import ContextLengthExceeded
from graph.grounding import shared_words, unsupported_numbers
from graph.parsing import parse_verdict
from graph.prompts import accepted_turns, conversation_text, observation, verifier_messages
from graph.run import Run
from graph.speculation import FORESEEN, planned_ahead, told
from graph.state import Failure, Plan, Speculation, State, ToolCall, Turn, Verdict
from graph.transcript import can_finish
from graph.words import FINISH
from tools.card import card_of

_NEAR = 0.5
"""Share of a question's words in passages that makes a rejection of them implausible."""

VERDICT_SCHEMA = {
    "title": "verdict",
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "result": {"type": "string", "enum": ["accept", "reject"]},
        "answer": {"type": "string"},
        "missing": {"type": "string"},
        "next": {"type": "string", "enum": ["stop", "continue"]},
    },
    "required": ["reason", "result", "answer", "missing", "next"],
    "additionalProperties": False,
}


async def verify(state: State, run: Run) -> dict[str, Any]:
    """Judge the step in progress, add it to the memory, and say whether the run ends.

    Raises:
        ModelError: the model did not answer.
    """
    plan = cast(Plan, state["plan"])
    calls = state.get("calls", [])
    memory = state.get("memory", [])
    error = check(plan, calls, memory)
    step: Speculation | None = None
    if error is not None:
        verdict = Verdict(accepted=False, stop=False, reason="", answer="", missing="", source="rules")
        turn, ended_by = await _turn(state, verdict, verdict, error, run), ""
    elif run.context.verify == "rules":
        finished = plan["tool_name"] == FINISH
        verdict = Verdict(accepted=True, stop=finished, reason="", answer="", missing="", source="rules")
        turn, ended_by = await _turn(state, verdict, verdict, None, run), "planner" if finished else ""
    else:
        async with planned_ahead(state, await _turn(state, FORESEEN, FORESEEN, None, run), run) as ahead:
            verdict, words, ended_by = await _judge_in_time(state, run)
            turn = await _turn(state, verdict, words, None, run)
            if not ended_by:
                step = await ahead.step_after(turn, run)
    if not ended_by and len(memory) + 1 >= run.context.max_turns:
        ended_by = "turns"
    if not ended_by and is_stuck([*memory, turn]):
        ended_by = "stuck"
    update: dict[str, Any] = {"memory": [turn], "usage": run.usage, "seconds": run.seconds}
    if ended_by:
        return {**update, "ended_by": ended_by}
    if step is not None:
        update["speculation"] = step
    return {**update, "going_on": True}


async def _turn(state: State, verdict: Verdict, words: Verdict, error: Failure | None, run: Run) -> Turn:
    """The step in progress as a finished turn; `words` is the part of the verdict that the planner is told."""
    plan = cast(Plan, state["plan"])
    calls = state.get("calls", [])
    left = run.context.max_turns - len(state.get("memory", [])) - 1
    return Turn(
        reply=plan["reply"],
        plan=plan,
        calls=calls,
        error=error,
        verdict=verdict,
        observation=observation(
            calls,
            error,
            words,
            left,
            direct=run.context.direct_arguments,
            other_tools=await _others(plan, run),
            can_finish=can_finish(run),
        ),
    )


async def _others(plan: Plan, run: Run) -> list[str]:
    """The tools that the step did not choose; none where it chose no tool."""
    names = [tool.name for tool in await run.tools()]
    return [name for name in names if name != plan["tool_name"]] if plan["tool_name"] in names else []


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


async def _judge_in_time(state: State, run: Run) -> tuple[Verdict, Verdict, str]:
    """The verdict, the part of it that the planner is told, and what ends the run, if anything does."""
    try:
        async with run.within_budget():
            verdict, words = await _judge(state, run)
    except (TimeoutError, ContextLengthExceeded) as error:
        timed_out = isinstance(error, TimeoutError)
        reason = "the run's time was over" if timed_out else "the memory fills the model's context"
        verdict = Verdict(accepted=True, stop=True, reason=reason, answer="", missing="", source="rules")
        return verdict, verdict, "time" if timed_out else "context"
    return verdict, words, "verifier" if verdict["stop"] else ""


async def _judge(state: State, run: Run) -> tuple[Verdict, Verdict]:
    conversation = conversation_text(state.get("messages", []), state["question"])
    messages = verifier_messages(state, conversation)
    passages = await quotes_sources(cast(Plan, state["plan"]), run)
    asked = False

    def read(reply: str) -> Verdict | str:
        nonlocal asked
        found = _read_verdict(reply)
        complaint = None if asked or isinstance(found, str) else answer_complaint(found, state, passages)
        asked = True  # it may know better than the words tell, so it is asked about its answer once
        if complaint is None:
            return found
        return f"{complaint}. If the results tell the answer, give it in their words; if not, say what is missing"

    found = await run.ask_for("verifier", messages, read, schema=VERDICT_SCHEMA)
    if isinstance(found, str):
        unread = Verdict(accepted=True, stop=False, reason=found, answer="", missing="", source="rules")
        return unread, unread
    verdict = grounded(found, state, quotes_sources=passages)
    return verdict, told(verdict, found, run)


async def quotes_sources(plan: Plan, run: Run) -> bool:
    """Whether the tool of a step returns passages."""
    return any(card_of(tool).quotes_sources for tool in await run.tools() if tool.name == plan["tool_name"])


def answer_complaint(verdict: Verdict, state: State, passages: bool) -> str | None:
    """Why a verdict that stops cannot have the answer, or None; see `graph.answers`."""
    if not verdict["stop"] or not verdict["answer"]:
        return None
    question, answer = state["question"], verdict["answer"]
    results = [call["result"] for call in _known_calls(state)]
    return form_complaint(question, answer) or (source_complaint(question, answer, results) if passages else None)


def _known_calls(state: State) -> list[ToolCall]:
    """The calls that worked, of the step in progress and of those that were accepted."""
    calls = [*state.get("calls", []), *(call for turn in accepted_turns(state) for call in turn["calls"])]
    return [call for call in calls if call["error"] is None]


def grounded(verdict: Verdict, state: State, *, quotes_sources: bool) -> Verdict:
    """The verdict, held to the words and figures of the results.

    A stop on an answer with a number that stands in no result goes on: that number was computed in the model's head, or
    remembered, and tools are for that. A rejection of results whose own figures it quotes accepts, and so does one of
    passages that hold most words of the question: a part of the answer is in them, whatever else is missing.
    """
    calls = state.get("calls", [])
    new = [call["result"] for call in calls if call["error"] is None]
    old = [call["result"] for turn in accepted_turns(state) for call in turn["calls"] if call["error"] is None]
    if not verdict["accepted"]:
        told = _quotes(verdict["reason"], new, [state["question"], *old])
        near = quotes_sources and shared_words(state["question"], " ".join(new)) >= _NEAR
        return {**verdict, "accepted": told or near}
    # A figure of the question is no finding; where only the reason tells the answer, it may quote the question.
    claim, known = (verdict["answer"], []) if verdict["answer"] else (verdict["reason"], [state["question"]])
    unsupported = unsupported_numbers(claim, [*known, *old, *new]) if verdict["stop"] else []
    if not unsupported:
        return verdict
    return {**verdict, "stop": False, "answer": "", "missing": f"{unsupported[0]} stands in no result: compute it"}


def _quotes(reason: str, new: list[str], known: list[str]) -> bool:
    """Whether a reason holds a number that it can only have from the new results."""
    fresh = unsupported_numbers(reason, known)
    return len(unsupported_numbers(" ".join(fresh), new)) < len(fresh)


def _read_verdict(reply: str) -> Verdict | str:
    found = parse_verdict(reply)
    if isinstance(found, str):
        return found
    return Verdict(
        accepted=found.accepted,
        stop=found.stop and found.accepted,
        reason=found.reason,
        answer=found.answer,
        missing=found.missing,
        source="model",
    )
