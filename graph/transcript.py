"""The planner's transcript: a function of the state and the run's settings only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from langchain_core.messages import AnyMessage

from graph.prompts import planner_messages, planner_opening
from graph.rendering import conversation_text
from graph.run import Run
from graph.state import State


async def transcript_of(state: State, run: Run) -> list[AnyMessage]:
    """The planner's next prompt, given the state.

    Raises:
        ConfigError: a tool's name is unknown or it lacks what it needs.
    """
    opening = planner_opening(
        await run.tools(),
        form=run.step_form,
        can_finish=can_finish(run),
        max_turns=run.context.max_turns,
        wording=run.wording,
    )
    conversation = conversation_text(state.get("messages", []), state["question"], run.context.max_chat_chars)
    return planner_messages(opening, state, conversation, run.context.max_turns, form=run.step_form)


def can_finish(run: Run) -> bool:
    """Whether the planner may end the run itself, because no model judges when to stop."""
    return run.context.verify == "rules"


def digest_of(transcript: Sequence[AnyMessage]) -> str:
    """A hash that identifies a transcript."""
    digest = hashlib.sha256()
    for message in transcript:
        digest.update(f"{message.type}\x1e{message.text}\x1f".encode("utf-8", "replace"))
    return digest.hexdigest()
