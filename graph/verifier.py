"""The verifier: judges each step and decides whether the run continues.

Rules come first (`STEP_CHECKS`): an unreadable step, an unknown tool, invalid arguments, an error, an empty result and
a repeated call are rejected without asking a model, and their results never reach the generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from graph.checks import ANSWER_CHECKS, EXCERPTS, FORESEEN_STEPS, PASSAGE_CHECKS, STEP_CHECKS, VERDICT_CHECKS
from graph.checks.answers import answer_complaint
from graph.checks.evidence import Evidence
from graph.checks.foreseen import Foreseen
from graph.checks.steps import Step, failure_of, is_stuck
from graph.checks.verdicts import revised
from graph.errors import ContextLengthExceeded
from graph.parsing import parse_verdict
from graph.prompts import observation, verifier_messages
from graph.rendering import conversation_text
from graph.run import Run
from graph.speculation import EXPECTED, feedback_of, foreseen, planned_ahead
from graph.state import FINISH, Failure, Plan, RunState, Speculation, State, Turn, Verdict
from graph.transcript import can_finish

VERDICT_SCHEMA = {
    "title": "verdict",
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "result": {"type": "string", "enum": ["accept", "reject"]},
        "answer": {"type": "string"},
        "missing": {"type": "string"},
    },
    "required": ["reason", "result", "answer", "missing"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Judged:
    """A step's verdict."""

    verdict: Verdict
    feedback: Verdict
    """The part of it that the planner reads."""
    ended_by: str = ""
    """Why the run ends, if the verdict ends it."""


def by_rules(accepted: bool, *, stop: bool = False, reason: str = "") -> Verdict:
    """A verdict without a model."""
    return Verdict(accepted=accepted, stop=stop, reason=reason, answer="", missing="", source="rules")


async def verify(state: State, run: Run) -> RunState:
    """Judge the step in progress, add it to the memory, and decide whether the run ends.

    Raises:
        ModelError: the model did not answer.
    """
    plan, memory = cast("Plan", state["plan"]), state.get("memory", [])
    error = failure_of(Step(plan, state.get("calls", []), memory), STEP_CHECKS) or await _nothing_found(state, run)
    is_last = len(memory) + 1 >= run.context.max_turns
    step: Speculation | None = None
    if not is_last and (known := await _foreseen(state, error, run)) is not None:
        judged = Judged(known.verdict, known.verdict, "stuck" if known.next_step is None else "")
        turn = await _turn(state, judged, error, run)
        if known.next_step is not None:
            step = await foreseen(known.next_step, state, turn, run)
    elif error is None and run.context.verify == "model":
        expected = await _turn(state, Judged(EXPECTED, EXPECTED), None, run) if run.context.speculate else None
        async with planned_ahead(state, expected, run) as ahead:
            judged = await _judge_in_time(state, run)
            turn = await _turn(state, judged, None, run)
            if not judged.ended_by:
                step = await ahead.step_after(turn, run)
    else:
        judged = _judge_by_rules(plan, error)
        turn = await _turn(state, judged, error, run)
    ended_by = judged.ended_by
    if not ended_by and is_last:
        ended_by = "turns"
    if not ended_by and is_stuck([*memory, turn]):
        ended_by = "stuck"
    update = RunState(memory=[turn], usage=run.usage, seconds=run.seconds)
    if ended_by:
        return {**update, "ended_by": ended_by}
    if step is not None:
        update["speculation"] = step
    return {**update, "continues": True}


async def _turn(state: State, judged: Judged, error: Failure | None, run: Run) -> Turn:
    """The step in progress as a finished turn."""
    plan = cast("Plan", state["plan"])
    calls = state.get("calls", [])
    turns_left = run.context.max_turns - len(state.get("memory", [])) - 1
    return Turn(
        reply=plan["reply"],
        plan=plan,
        calls=calls,
        error=error,
        verdict=judged.verdict,
        observation=observation(
            calls,
            error,
            judged.feedback,
            turns_left,
            run.step_form,
            other_tools=await _others(plan, run),
            can_finish=can_finish(run),
        ),
    )


async def _others(plan: Plan, run: Run) -> list[str]:
    """The tools that the step did not choose; none if it chose no known tool."""
    names = [tool.name for tool in await run.tools()]
    return [name for name in names if name != plan["tool_name"]] if plan["tool_name"] in names else []


def _judge_by_rules(plan: Plan, error: Failure | None) -> Judged:
    finished = error is None and plan["tool_name"] == FINISH
    verdict = by_rules(error is None, stop=finished)
    return Judged(verdict, verdict, "planner" if finished else "")


async def _nothing_found(state: State, run: Run) -> Failure | None:
    """Why the passages found are none that help; nothing is said where the application has its own words."""
    checks = run.held_to(PASSAGE_CHECKS, "verifier")
    if not checks or run.wording.changes("verifier"):
        return None
    evidence = Evidence.of(state, await run.tools())
    return next((failure for check in checks if (failure := check(evidence)) is not None), None)


async def _foreseen(state: State, error: Failure | None, run: Run) -> Foreseen | None:
    """What follows the step in any case; nothing does where the application has its own words for the verifier."""
    checks = run.held_to(FORESEEN_STEPS, "verifier")
    if not checks or run.context.verify != "model" or run.wording.changes("verifier"):
        return None
    evidence = Evidence.of(state, await run.tools(), error)
    return next((known for foresee in checks if (known := foresee(evidence)) is not None), None)


async def _judge_in_time(state: State, run: Run) -> Judged:
    try:
        async with run.within_budget():
            return await _judge(state, run)
    except TimeoutError:
        reason, ended_by = "the run's time was over", "time"
    except ContextLengthExceeded:
        reason, ended_by = "the memory fills the model's context", "context"
    verdict = by_rules(True, stop=True, reason=reason)
    return Judged(verdict, verdict, ended_by)


async def _judge(state: State, run: Run) -> Judged:
    conversation = conversation_text(state.get("messages", []), state["question"], run.context.max_chat_chars)
    shown = state
    for excerpt in run.held_to(EXCERPTS, "verifier"):
        shown = excerpt(shown, await run.tools())
    messages = verifier_messages(shown, conversation, run.wording)
    evidence = Evidence.of(state, await run.tools())
    answer_checks = run.held_to(ANSWER_CHECKS, "verifier")
    verdicts: list[Verdict | str] = []

    def read(reply: str) -> Verdict | str:
        verdict = _read_verdict(reply)
        verdicts.append(verdict)
        if isinstance(verdict, str):
            return verdict
        if len(verdicts) > 1:  # it may know better than the check, so it is asked about its answer once
            # The complaint was about the answer. That the step helps was said before it, and half an answer helps.
            helps = any(isinstance(earlier, dict) and earlier["accepted"] for earlier in verdicts)
            return {**verdict, "accepted": helps}
        complaint = answer_complaint(verdict, evidence, answer_checks)
        if complaint is None:
            return verdict
        return f"{complaint}. If the results tell the answer, give it in their words; if not, say what is missing"

    reply = await run.ask_for("verifier", messages, read, schema=VERDICT_SCHEMA)
    if isinstance(reply, str):
        unread = by_rules(True, reason=reply)
        return Judged(unread, unread)
    verdict = revised(reply, evidence, run.held_to(VERDICT_CHECKS, "verifier"))
    return Judged(verdict, feedback_of(verdict, reply, run), "verifier" if verdict["stop"] else "")


def _read_verdict(reply: str) -> Verdict | str:
    judgement = parse_verdict(reply)
    if isinstance(judgement, str):
        return judgement
    return Verdict(
        accepted=judgement.accepted,
        stop=judgement.stop and judgement.accepted,
        reason=judgement.reason,
        answer=judgement.answer,
        missing=judgement.missing,
        source="model",
    )
