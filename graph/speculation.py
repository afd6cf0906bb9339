"""Planning ahead: asking the planner for the next step while the verifier is still judging the last one.

It bets on the turn being accepted and the run continuing. The step is planned from exactly the transcript the planner
will have in that case. If the verdict differs, or says more than "accepted", the step is discarded and the planner is
asked again. So a run that plans ahead sees the same prompts as one that does not, and at temperature 0 gives the same
answer, only sooner.

A step that follows in any case (`graph.checks`, `FORESEEN_STEPS`) is handed to the planner in the same way, and no
model is asked for it.

None of this is part of the memory. The planned step travels from the verifier to the planner in one field of the state,
together with a digest of the transcript it continues. The planner uses it only if the digest matches, so a run whose
memory was edited at a pause, or that is resumed elsewhere, is planned afresh.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.constants import TAG_NOSTREAM

from graph.checks.foreseen import NextStep
from graph.errors import ModelError
from graph.prompts import step_reply
from graph.run import Run, tagged
from graph.state import Speculation, State, Turn, Usage, Verdict
from graph.transcript import digest_of, transcript_of

log = logging.getLogger(__name__)

DISCARDED = "discarded"
"""Key under which usage counts discarded steps. Of a cancelled call only the seconds are known."""

EXPECTED = Verdict(accepted=True, stop=False, reason="", answer="", missing="", source="model")
"""The verdict to bet on: any other ends the run or tells the planner something new."""


def feedback_of(verdict: Verdict, from_model: Verdict, run: Run) -> Verdict:
    """The part of a verdict that the planner reads.

    With `brief_verdicts` it only reads that a turn was accepted, which is what can be predicted. It always reads the
    reason of a rejection, and whatever the checks changed in the model's own verdict (`from_model`).
    """
    if run.context.brief_verdicts and verdict["accepted"] and verdict == from_model:
        return {**verdict, "reason": "", "missing": ""}
    return verdict


def _worth_it(memory: Sequence[Turn], run: Run) -> bool:
    """Whether the next verdict may be the expected one: a verifier that has given reasons will give them again."""
    if run.context.brief_verdicts:
        return True
    judged = [turn["verdict"] for turn in memory if turn["verdict"]["source"] == "model"]
    return not any(verdict["reason"] or verdict["missing"] for verdict in judged)


@dataclass
class Ahead:
    """A step being planned ahead; without a task there is none."""

    expected: Turn | None = None
    """The finished turn it would follow."""
    task: asyncio.Task[Speculation] | None = None
    used: bool = False
    began: float = field(default_factory=time.perf_counter)

    async def step_after(self, turn: Turn, run: Run) -> Speculation | None:
        """The planned step, if it continues `turn`; waits for it within the run's time budget.

        A model failure is not reported here: the planner will ask again and report it.
        """
        if self.task is None or self.expected is None or turn["observation"] != self.expected["observation"]:
            return None
        try:
            async with run.within_budget():
                step = await self.task
        except (ModelError, TimeoutError) as error:
            log.debug("Planning ahead failed (%s).", error)
            return None
        self.used = True
        return step

    async def end(self, run: Run) -> None:
        """Cancel the planning if it is still running, and count a step that was not used."""
        if self.task is None:
            return
        self.task.cancel()
        await asyncio.wait([self.task])
        if self.used:
            return
        if self.task.cancelled():
            seconds = time.perf_counter() - self.began
            run.count(DISCARDED, Usage(calls=1, input_tokens=0, output_tokens=0, seconds=seconds))
        elif error := self.task.exception():
            log.debug("A discarded step failed as well (%s: %s).", type(error).__name__, error)
        else:
            run.count(DISCARDED, self.task.result()["usage"])


@asynccontextmanager
async def planned_ahead(state: State, expected: Turn | None, run: Run) -> AsyncIterator[Ahead]:
    """Plan the step after `expected`, if there is such a turn, while the block runs; nothing outlives the block."""
    ahead = Ahead()
    memory = state.get("memory", [])
    if expected is not None and len(memory) + 1 < run.context.max_turns and _worth_it(memory, run):
        future: State = {**state, "memory": [*memory, expected]}
        ahead = Ahead(expected, asyncio.create_task(_plan(future, run)))
    try:
        yield ahead
    finally:
        await ahead.end(run)


async def _plan(state: State, run: Run) -> Speculation:
    transcript = await transcript_of(state, run)
    config = tagged(run.config, TAG_NOSTREAM)  # it may be discarded
    own = replace(run, usage={}, config=config, turn=len(state.get("memory", [])) + 1)
    reply = await own.ask("planner", transcript)
    captured = reply.additional_kwargs.get("captured")
    return Speculation(
        transcript=digest_of(transcript), reply=str(reply.text), captured=captured, usage=own.usage["planner"]
    )


async def foreseen(step: NextStep, state: State, turn: Turn, run: Run) -> Speculation | None:
    """A step that follows `turn` in any case, as if it had been planned ahead.

    None if the planner has to plan it itself: because its model is strong, because the application has its own words
    for it, because it also writes the tool's input, or because it is trained on what it writes.
    """
    if not run.held_to((step,), "planner") or run.wording.changes("planner"):
        return None
    if run.step_form.is_direct or state.get("planner_turns"):
        return None
    future: State = {**state, "memory": [*state.get("memory", []), turn]}
    return Speculation(
        transcript=digest_of(await transcript_of(future, run)),
        reply=step_reply(run.step_form, step.justification, step.context, step.sub_goal, step.tool),
        captured=None,
        usage=Usage(calls=0, input_tokens=0, output_tokens=0, seconds=0.0),
    )


async def reply_of(step: Speculation | None, transcript: Sequence[AnyMessage], run: Run) -> AIMessage | None:
    """The reply that was planned ahead for this transcript, or None; counted, streamed and traced as the planner's."""
    if step is None or step["transcript"] != digest_of(transcript):
        return None
    run.count("planner", step["usage"])
    tokens = {"captured": step["captured"]} if step["captured"] is not None else {}
    reply: AIMessage = await _Replay(reply=step["reply"]).ainvoke(list(transcript), tagged(run.config, "planner"))
    return AIMessage(reply.text, additional_kwargs=tokens)


class _Replay(BaseChatModel):
    """A model that repeats a reply, for callers who stream or trace the planner."""

    reply: str

    @property
    def _llm_type(self) -> str:
        return "planned-ahead"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.reply))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages)
