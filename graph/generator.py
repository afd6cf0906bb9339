"""The generator: writes the answer, and on request the report, from accepted turns alone."""

from __future__ import annotations

from langchain_core.messages import AIMessage, BaseMessage

from graph.checks import ANSWER_CHECKS
from graph.checks.answers import answer_complaint
from graph.checks.evidence import Evidence
from graph.errors import ContextLengthExceeded
from graph.memory import accepted_turns, last_result
from graph.parsing import parse_answer, without_thinking
from graph.prompts import generator_messages
from graph.rendering import conversation_text
from graph.run import Run
from graph.state import State
from graph.toolbox import quotes_sources

_LIMITS = (4000, 1000, 250)
"""Characters kept of each result; the next is tried when the prompt does not fit the model's context."""


async def generate(state: State, run: Run) -> State:
    """Write the answer and end the run.

    This node runs after the budget is spent as well: a run always ends in an answer.

    Raises:
        ModelError: the model did not answer.
    """
    if run.context.answer == "last_result":
        message = AIMessage(last_result(state))
    else:
        reply = await _write(state, run, report=False)
        message = AIMessage(parse_answer(str(reply.text)), id=reply.id)  # one message with the text that was streamed
    answer = str(message.text)
    state = {**state, "answer": answer}
    update = State(answer=answer, plan=None, calls=[], messages=[message])
    if run.context.report:
        update["report"] = without_thinking(str((await _write(state, run, report=True)).text))
    return {**update, "usage": run.usage, "seconds": run.seconds}


async def _write(state: State, run: Run, *, report: bool) -> AIMessage:
    conversation = conversation_text(state.get("messages", []), state["question"])
    told = await _verifier_is_plausible(state, run)

    async def ask(limit: int) -> AIMessage:
        messages: list[BaseMessage] = generator_messages(state, conversation, report=report, limit=limit, told=told)
        return await run.ask("generator", messages)

    for limit in _LIMITS[:-1]:
        try:
            return await ask(limit)
        except ContextLengthExceeded:
            continue
    return await ask(_LIMITS[-1])


async def _verifier_is_plausible(state: State, run: Run) -> bool:
    """Whether what the verifier read can be the answer; a small generator would take its word for it."""
    accepted = accepted_turns(state)
    if not accepted:
        return True
    plan, verdict = accepted[-1]["plan"], accepted[-1]["verdict"]
    finished: State = {**state, "calls": []}  # those of the last step are in the memory by now
    evidence = Evidence.of(finished, passages=quotes_sources(await run.tools(), plan["tool_name"]))
    return answer_complaint(verdict, evidence, run.held_to(ANSWER_CHECKS, "verifier")) is None
