"""The verifier: blocks what did not work, judges what did, and decides whether the run goes on.

Rules come first: an unreadable step, an unknown tool, bad arguments, an error, an empty result and a repeat of an
accepted call are rejected without asking a model, and their results never reach the generator.
"""

from __future__ import annotations

from typing import Any, cast

from graph.checks.steps import check, is_stuck
from graph.checks.verdicts import answer_complaint, grounded
from graph.errors import ContextLengthExceeded
from graph.parsing import parse_verdict
from graph.prompts import observation, verifier_messages
from graph.rendering import conversation_text
from graph.run import Run
from graph.speculation import FORESEEN, planned_ahead, told
from graph.state import FINISH, Failure, Plan, Speculation, State, Turn, Verdict
from graph.toolbox import quotes_sources
from graph.transcript import can_finish

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
    plan = cast("Plan", state["plan"])
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
    plan = cast("Plan", state["plan"])
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
    passages = quotes_sources(await run.tools(), cast("Plan", state["plan"])["tool_name"])
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
