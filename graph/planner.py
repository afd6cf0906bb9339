"""The planner: has the question analysed once, then chooses one step at a time."""

from __future__ import annotations

import uuid
from typing import cast

from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.types import Overwrite

from graph.chat import attachments_of, is_from_user, newest_of, text_of
from graph.errors import ContextLengthExceeded, DataError
from graph.models.room import silence
from graph.models.senses import senses
from graph.parsing import parse_plan, without_thinking
from graph.prompts import analyst_messages
from graph.rendering import conversation_text
from graph.resuming import continues
from graph.roles import Role
from graph.run import Run
from graph.speculation import reply_of
from graph.state import FINISH, Failure, RunMark, RunState
from graph.transcript import can_finish, transcript_of
from tools.counts import kind_of


async def plan(state: RunState, run: Run) -> RunState:
    """Choose the next step, or end the run if its budget is used up.

    When the graph is entered from outside, the node first starts a new run: it takes the question from the input,
    clears what an earlier run of the thread left behind, and has the question analysed unless the input includes an
    analysis.

    Raises:
        DataError: there is no question.
        ModelError: the model did not answer.
    """
    before = state
    fresh = RunState()
    if not continues(state):
        fresh = _start(state)
        _check_senses(run)
        await run.tools()  # a tool that cannot be used is told before a model is asked
        state = {**state, **fresh, "messages": [*state.get("messages", []), *fresh["messages"]]}
        run.seconds_before, run.turn = 0.0, 1
    update = await _next_or_end(state, run)
    update = {**fresh, **update, "usage": run.usage, "seconds": run.seconds}
    return _replacing(before, update) if fresh else update


async def _next_or_end(state: RunState, run: Run) -> RunState:
    if len(state.get("memory", [])) >= run.context.max_turns:
        return RunState(ended_by="turns")
    try:
        async with run.within_budget():
            return await _next_step(state, run)
    except TimeoutError:
        return RunState(ended_by="time")
    except ContextLengthExceeded:
        return RunState(ended_by="context")


def _replacing(before: RunState, update: RunState) -> RunState:
    """The first update of a run, with values that replace those of the thread's earlier run instead of adding to them.

    In a fresh thread plain values do the same and are easier to read in a stream.
    """
    reduced = {key: Overwrite(value) for key, value in update.items() if key in _REDUCED and before.get(key)}
    return cast("RunState", {**update, **reduced})


_REDUCED = ("memory", "usage", "seconds", "planner_turns")


def _start(state: RunState) -> RunState:
    """The initial state of a new run.

    The state may still have the question of an earlier run: this thread's, or one that a larger graph shares and that
    stands in its chat. It yields to a newer human message.
    """
    mark = state.get("run")
    messages = state.get("messages", [])
    newest = newest_of(messages)
    question = state.get("question") or ""
    if not isinstance(question, str):
        raise DataError(f"The question is {kind_of(question)}; give it as a text.")
    question = question.strip()
    asked = newest if newest is not None and is_from_user(newest) else None
    if asked is not None and mark is not None and asked.id == mark["message_id"]:
        asked = None  # by an earlier run of this thread
    known = ["" if mark is None else mark["question"], *map(text_of, filter(is_from_user, messages))]
    is_old = asked is not None and question in known and question != text_of(asked)
    new_messages: list[AnyMessage] = []
    if asked is not None and (is_old or question in ("", text_of(asked))):
        question, message_id = text_of(asked), asked.id or ""
    else:  # an explicit question continues the chat
        message_id = str(uuid.uuid4())
        new_messages = [HumanMessage(question, id=message_id)]
    if not question:
        attachments = attachments_of(asked) if asked is not None else []
        if attachments:
            raise DataError(
                f"The message holds a {attachments[0].kind} and no question: write what you want to know about it."
            )
        raise DataError("There is no question: give the input a `question` or a human message.")
    analysis = state.get("analysis", "")
    if analysis == mark["analysis"] if mark is not None else is_old:
        analysis = ""  # made for the earlier question
    return RunState(
        question=question,
        analysis=analysis,
        plan=None,
        calls=[],
        memory=[],
        answer="",
        report="",
        structured_response=None,
        ended_by="",
        usage={},
        seconds=0.0,
        planner_turns=[],
        messages=new_messages,
        run=RunMark(question=question, analysis=analysis, message_id=message_id),
    )


def _check_senses(run: Run) -> None:
    """Refuse attachments that the model of a role cannot take.

    The executor is exempt: it serves the sub-goal alone, and gets what its model can take.
    """
    roles: dict[Role, bool] = {
        "analyst": run.analyses(chat=True),
        "planner": True,
        "verifier": run.context.verify == "model",
        "generator": run.context.answer == "model",
    }
    for attachment in run.attachments:
        for role in (role for role, is_asked in roles.items() if is_asked):
            model = run.model(role)
            if senses(model, attachment.kind) is False:
                name = getattr(model, "model_name", None) or getattr(model, "model", None) or type(model).__name__
                raise DataError(
                    f"The chat holds a {attachment.kind}, which the model of the {role} ({name}) cannot take: choose a "
                    "model that can, or say in words what it holds."
                )


async def _next_step(state: RunState, run: Run) -> RunState:
    update = RunState()
    conversation = conversation_text(state.get("messages", []), state["question"], run.context.max_chat_chars)
    is_open = not state.get("analysis") and not state.get("memory")
    if is_open and run.analyses(chat=bool(conversation)):
        reply = await run.ask("analyst", analyst_messages(state["question"], conversation, run.wording))
        analysis = without_thinking(str(reply.text))
        update["analysis"] = analysis
        update["run"] = RunMark(**{**state["run"], "analysis": analysis})
        state = {**state, "analysis": analysis}
    transcript = await transcript_of(state, run)
    reply = await reply_of(state.get("speculation"), transcript, run) or await run.ask("planner", transcript)
    names = [tool.name for tool in await run.tools()] + ([FINISH] if can_finish(run) else [])
    step = parse_plan(str(reply.text), names)
    if step["error"] is not None and (silent := silence(reply)) is not None:
        step["error"] = Failure(kind="plan", message=silent)
    update["plan"] = step
    update["calls"] = []
    captured = reply.additional_kwargs.get("captured")
    if captured is not None:
        update["planner_turns"] = [captured]
    return update
