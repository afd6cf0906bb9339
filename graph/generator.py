"""The generator: writes the answer from accepted turns only, and on request a structured response and a report."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage

from graph.checks import ANSWER_CHECKS
from graph.checks.answers import answer_complaint
from graph.checks.coverage import ASKS_FOR_PROSE
from graph.checks.english import in_english
from graph.checks.evidence import Evidence
from graph.checks.questions import has_options
from graph.errors import ContextLengthExceeded, ResponseFormatError
from graph.memory import accepted_turns, last_result
from graph.models.room import silence
from graph.parsing import parse_answer, without_thinking
from graph.prompts import RECALLED_SCHEMA, Part, generator_messages
from graph.rendering import conversation_text
from graph.response_format import Filled, ResponseFormat
from graph.run import Run
from graph.state import State

T = TypeVar("T")

_LIMITS = ((4000, 1.0), (1000, 0.5), (250, 0.1))
"""Characters shown of each result, and the part of `max_chat_chars`; the next are tried if the prompt does not fit the
model's context."""


async def generate(state: State, run: Run) -> State:
    """Write the answer and end the run.

    This node also runs after the budget is used up: a run always ends with an answer.

    Raises:
        ModelError: the model did not answer.
        ResponseFormatError: its reply does not follow the response format.
    """
    if run.context.answer == "last_result":
        answer = last_result(state)
        message = AIMessage(answer)
    elif answer := await _answer_read(state, run):
        message = AIMessage(answer)
    else:
        reply = await _recalled(state, run)
        if reply is None:
            reply = await _fitting("answer", state, run, partial(run.ask, "generator"))
        answer = parse_answer(str(reply.text))
        why_not = silence(reply) or "the model's reply says nothing"
        # One message, with the text that was streamed, if any was.
        message = AIMessage(answer or f"There is no answer: {why_not}.", id=reply.id)
    state = {**state, "answer": answer}
    update = State(answer=answer, plan=None, calls=[], messages=[message])
    if run.response_format is not None:
        update["structured_response"] = await _structured_response(run.response_format, state, run)
    if run.context.report:
        reply = await _fitting("report", state, run, partial(run.ask, "generator", tag="report"))
        update["report"] = without_thinking(str(reply.text))
    return {**update, "usage": run.usage, "seconds": run.seconds}


_SHORT = 5
"""Words of an answer that needs no writing."""


async def _answer_read(state: State, run: Run) -> str:
    """The verifier's answer, where a small generator would only copy it; empty if one is to be written.

    Of 52 runs that ended with such an answer, the embedded generator repeated it in 51 (docs/measured.md).
    """
    if not run.held_to(ANSWER_CHECKS, "generator") or run.wording.changes("generator"):
        return ""
    accepted = accepted_turns(state)
    if not accepted or not accepted[-1]["verdict"]["stop"] or not await _verifier_is_plausible(state, run):
        return ""
    answer, question = accepted[-1]["verdict"]["answer"], state["question"]
    is_short = len(answer.split()) <= _SHORT and in_english(question) and not ASKS_FOR_PROSE.search(question)
    return answer if is_short else ""


async def _recalled(state: State, run: Run) -> AIMessage | None:
    """The reply of a small generator that has no result to answer from, and is asked for something short; else None."""
    if not _is_to_recall(state, run):
        return None
    ask = partial(run.ask, "generator", schema=RECALLED_SCHEMA, streamed=False)  # JSON is no answer to read
    reply = await _fitting("recalled_answer", state, run, ask)
    has_answer = not parse_answer(str(reply.text)).startswith("{")  # it may be cut off, or leave the field empty
    return reply if has_answer else None


def _is_to_recall(state: State, run: Run) -> bool:
    small = run.held_to(ANSWER_CHECKS, "generator") and not run.wording.changes("generator")
    question = state["question"]
    short = in_english(question) and not ASKS_FOR_PROSE.search(question) and not has_options(question)
    return bool(small and short and not last_result(state))


async def _structured_response(form: ResponseFormat, state: State, run: Run) -> Any:
    async def ask(messages: list[BaseMessage]) -> Filled | str:
        return await run.ask_for(
            "generator", messages, form.read, schema=form.schema_for_servers, tag="structured_response"
        )

    response = await _fitting("structured_response", state, run, ask, schema=json.dumps(form.schema))
    if isinstance(response, str):
        raise ResponseFormatError(
            f"The generator's reply does not follow `response_format`: {response}. Make the format simpler, or give "
            "the generator a larger model."
        )
    return response.value


async def _fitting(
    part: Part, state: State, run: Run, ask: Callable[[list[BaseMessage]], Awaitable[T]], schema: str = ""
) -> T:
    """Ask for a part; as long as the prompt does not fit the model's context, show less of results and chat."""
    trust = await _verifier_is_plausible(state, run)

    def messages(limit: int, share: float) -> list[BaseMessage]:
        chars = int(share * run.context.max_chat_chars)
        conversation = conversation_text(state.get("messages", []), state["question"], chars)
        return generator_messages(
            part, state, conversation, limit=limit, trust_verifier=trust, schema=schema, wording=run.wording
        )

    for limit, share in _LIMITS[:-1]:
        try:
            return await ask(messages(limit, share))
        except ContextLengthExceeded:
            continue
    return await ask(messages(*_LIMITS[-1]))


async def _verifier_is_plausible(state: State, run: Run) -> bool:
    """Whether the verifier's answer may be right; a small generator would simply copy it."""
    accepted, checks = accepted_turns(state), run.held_to(ANSWER_CHECKS, "verifier")
    if not (accepted and checks):
        return True
    # The last step's calls are in the memory by now.
    finished: State = {**state, "calls": [], "plan": accepted[-1]["plan"]}
    evidence = Evidence.of(finished, await run.tools())
    return answer_complaint(accepted[-1]["verdict"], evidence, checks) is None
