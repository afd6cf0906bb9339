"""Planning ahead: the planner's next step is asked for while the verifier still judges the last one.

The guess is that the turn will be accepted and the run goes on. The step is planned from the very transcript that the
planner will have if the guess holds; if the verdict is another, or says more than "accepted", the planner is asked
again and what was planned is thrown away. A run that plans ahead therefore sees the same prompts, and at temperature 0
gives the same answer, as one that does not; it is only sooner there.

Nothing of this is in the memory. A planned step travels from the verifier to the planner in one field of the state,
with a digest of the transcript that it continues; the planner takes it only where that digest is right, so a memory
that was edited at a pause, or a run that is resumed elsewhere, is planned for anew.
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

from graph.errors import ModelError
from graph.run import Run, tagged
from graph.state import Speculation, State, Turn, Usage, Verdict
from graph.transcript import digest, transcript_of

log = logging.getLogger(__name__)

DISCARDED = "discarded"
"""Where the usage counts steps that were planned ahead and thrown away. A call that was given up before its end counts
with its seconds; its tokens are not known."""

FORESEEN = Verdict(accepted=True, stop=False, reason="", answer="", missing="", source="model")
"""The verdict that is planned for: all others end the run or tell the planner something new."""


def told(verdict: Verdict, judged: Verdict, run: Run) -> Verdict:
    """The part of a verdict that the planner is told.

    With `brief_verdicts` an accepted turn is told as accepted and no more, which is what can be foreseen. A rejection
    is told with its reason, and so is what the rules have changed in the verdict that the model gave (`judged`).
    """
    if run.context.brief_verdicts and verdict["accepted"] and verdict == judged:
        return {**verdict, "reason": "", "missing": ""}
    return verdict


def _worth_it(memory: Sequence[Turn], run: Run) -> bool:
    """Whether the next verdict may be told as foreseen: a verifier that gives reasons once gives them always."""
    if run.context.brief_verdicts:
        return True
    judged = [turn["verdict"] for turn in memory if turn["verdict"]["source"] == "model"]
    return not any(verdict["reason"] or verdict["missing"] for verdict in judged)


@dataclass
class Ahead:
    """A step that is being planned."""

    foreseen: Turn | None = None
    task: asyncio.Task[Speculation] | None = None
    taken: bool = False
    began: float = field(default_factory=time.perf_counter)

    async def step_after(self, turn: Turn, run: Run) -> Speculation | None:
        """The planned step, if it continues `turn`; waits for it within the run's time.

        A model that fails here is not reported: the planner will ask it again, and meet what there is to meet.
        """
        if self.task is None or self.foreseen is None or turn["observation"] != self.foreseen["observation"]:
            return None
        try:
            async with run.within_budget():
                step = await self.task
        except (ModelError, TimeoutError) as error:
            log.debug("A step could not be planned ahead (%s).", error)
            return None
        self.taken = True
        return step

    async def end(self, run: Run) -> None:
        """Stop what is still being planned, and count what was planned in vain."""
        if self.task is None:
            return
        self.task.cancel()
        await asyncio.wait([self.task])
        if self.taken:
            return
        if self.task.cancelled():
            seconds = time.perf_counter() - self.began
            run.count(DISCARDED, Usage(calls=1, input_tokens=0, output_tokens=0, seconds=seconds))
        elif error := self.task.exception():
            log.debug("A step that was planned ahead in vain failed as well (%s: %s).", type(error).__name__, error)
        else:
            run.count(DISCARDED, self.task.result()["usage"])


@asynccontextmanager
async def planned_ahead(state: State, foreseen: Turn, run: Run) -> AsyncIterator[Ahead]:
    """Plan the step after `foreseen` while the block runs, where the context wants that; nothing outlives the block."""
    ahead = Ahead()
    memory = state.get("memory", [])
    if run.context.speculate and len(memory) + 1 < run.context.max_turns and _worth_it(memory, run):
        expected: State = {**state, "memory": [*memory, foreseen]}
        ahead = Ahead(foreseen, asyncio.create_task(_plan(expected, run)))
    try:
        yield ahead
    finally:
        await ahead.end(run)


async def _plan(state: State, run: Run) -> Speculation:
    transcript = await transcript_of(state, run)
    own = replace(run, usage={}, config=tagged(run.config, TAG_NOSTREAM))  # it may never become a step
    reply = await own.ask("planner", transcript)
    captured = reply.additional_kwargs.get("captured")
    return Speculation(
        transcript=digest(transcript), reply=str(reply.text), captured=captured, usage=own.usage["planner"]
    )


async def reply_of(step: Speculation | None, transcript: Sequence[AnyMessage], run: Run) -> AIMessage | None:
    """The reply planned ahead to this transcript, or None; counted, streamed and traced as the planner's own."""
    if step is None or step["transcript"] != digest(transcript):
        return None
    run.count("planner", step["usage"])
    known = {"captured": step["captured"]} if step["captured"] is not None else {}
    said: AIMessage = await _Said(reply=step["reply"]).ainvoke(list(transcript), tagged(run.config, "planner"))
    return AIMessage(said.text, additional_kwargs=known)


class _Said(BaseChatModel):
    """A model that says what is known already, for those who stream or trace the planner."""

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
