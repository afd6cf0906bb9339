"""The planner's transcript at a point of a run: a function of the state and the run's settings, and of nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from langchain_core.messages import AnyMessage

from graph.prompts import planner_messages, planner_system
from graph.rendering import conversation_text
from graph.run import Run
from graph.state import State


async def transcript_of(state: State, run: Run) -> list[AnyMessage]:
    """What the planner is asked when `state` is all that has happened.

    Raises:
        ConfigError: a tool's name is unknown or it lacks what it needs.
    """
    direct = run.context.direct_arguments
    system = planner_system(await run.tools(), direct=direct, can_finish=can_finish(run), wording=run.wording)
    conversation = conversation_text(state.get("messages", []), state["question"])
    return planner_messages(system, state, conversation, run.context.max_turns, direct=direct)


def can_finish(run: Run) -> bool:
    """Whether the planner itself may end the run: where no model says when to stop."""
    return run.context.verify == "rules"


def digest(transcript: Sequence[AnyMessage]) -> str:
    """What tells one transcript from another."""
    said = hashlib.sha256()
    for message in transcript:
        said.update(f"{message.type}\x1e{message.text}\x1f".encode("utf-8", "replace"))
    return said.hexdigest()
