"""The typed state shared by the four modules: it *is* the agent's memory.

All values are plain data that a checkpointer can store. A run loops through `planner -> executor -> verifier` and ends
in the generator. `plan` and `calls` are the step in progress; `memory` contains the finished turns and only grows
during a run. The planner's prompt is built from `memory` alone, so state and prompt cannot disagree.

A thread may contain several runs (a chat). A new run starts when the graph is entered from outside: the planner then
resets everything but `messages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import add
from typing import Annotated, Any, Literal, NotRequired

from langchain_core.messages import AnyMessage
from langgraph.channels import EphemeralValue
from pydantic import Field
from typing_extensions import TypedDict  # pydantic, and so Studio, cannot read typing.TypedDict before Python 3.12

from graph.chat import add_chat
from tools.text import well_formed


class Failure(TypedDict):
    """Why a step or a call has no usable result."""

    kind: str
    """`plan`, `unknown_tool`, `arguments`, `refused`, `tool`, `timeout`, `unavailable`, `empty` or `repeat`."""
    message: str


class Plan(TypedDict):
    """The planner's choice for one turn."""

    justification: str
    context: str
    """Facts the tool needs, from the question or earlier results."""
    sub_goal: str
    tool_name: str
    input: str
    """With `direct_arguments`: the tool's input, verbatim; otherwise empty."""
    reply: str
    """The planner's reply, verbatim; part of the transcript."""
    error: Failure | None
    """Set if the reply contains no usable step."""


class ToolCall(TypedDict):
    """One call of a tool and its outcome."""

    tool: NotRequired[str]
    """The tool, where the calls of one turn may be of several; else it is the plan's."""
    arguments: dict[str, Any]
    result: str
    error: Failure | None
    seconds: float


class Verdict(TypedDict):
    """What the verifier decided about a turn."""

    accepted: bool
    """Whether the generator may use the turn's results."""
    stop: bool
    reason: str
    answer: str
    """The answer as the verifier reads it from the results; may be empty."""
    missing: str
    """What still has to be found or computed, according to the verifier; may be empty."""
    source: Literal["rules", "model"]


class Turn(TypedDict):
    """One finished turn: planned, executed, judged."""

    reply: str
    plan: Plan
    calls: list[ToolCall]
    error: Failure | None
    verdict: Verdict
    observation: str
    """The planner's feedback about the turn: clipped once, here, and never rewritten."""
    role: NotRequired[str]
    """Whose reply it is, in a run of another graph: its turns are calls of a model, which nobody planned or judged."""


class Usage(TypedDict):
    """The cost of one role."""

    calls: int
    input_tokens: int
    output_tokens: int
    seconds: float


class Speculation(TypedDict):
    """A step planned before the verdict on the last one was known; see `graph.speculation`."""

    transcript: str
    """Digest of the transcript it continues."""
    reply: str
    captured: dict[str, Any] | None
    """The reply's tokens, if the model captures them."""
    usage: Usage
    """Its cost; counted when the step is used."""


class RunMark(TypedDict):
    """The input of the current run; tells a new run's input from what an earlier run left behind."""

    question: str
    analysis: str
    message_id: str
    settings: NotRequired[dict[str, Any]]
    """The run's settings, as far as they are not the defaults; see `graph.resuming`."""
    approvals: NotRequired[list[str]]
    """The tools whose calls need a human's approval: a call that resumes the run adds to them and removes none."""


def add_usage(total: Mapping[str, Usage], more: Mapping[str, Usage]) -> dict[str, Usage]:
    """Sum two usage tables role by role."""
    result = dict(total)
    for role, cost in more.items():
        before = result.get(role)
        result[role] = (
            cost
            if before is None
            else Usage(
                calls=before["calls"] + cost["calls"],
                input_tokens=before["input_tokens"] + cost["input_tokens"],
                output_tokens=before["output_tokens"] + cost["output_tokens"],
                seconds=before["seconds"] + cost["seconds"],
            )
        )
    return result


def newer_text(_: str, new: str) -> str:
    """A text from outside in place of the one before it, well formed."""
    return well_formed(new) if isinstance(new, str) else new


class AgentInput(TypedDict, total=False):
    """The input of a run: a question, or chat messages that end with one."""

    question: Annotated[str, Field(description="The question to answer."), newer_text]
    messages: Annotated[
        list[AnyMessage], Field(description="A chat; the newest human message is the question."), add_chat
    ]
    analysis: Annotated[
        str, Field(description="An existing analysis of the question, which is then used as it is."), newer_text
    ]


class State(TypedDict, total=False):
    """The memory that the four modules share."""

    question: Annotated[str, Field(description="The question being answered."), newer_text]
    analysis: Annotated[
        str, Field(description="The analysis of the question: what is asked, and what it takes."), newer_text
    ]
    plan: Annotated[Plan | None, Field(description="The step in progress.")]
    calls: Annotated[list[ToolCall], Field(description="The tool calls of the step in progress.")]
    memory: Annotated[list[Turn], Field(description="The finished turns of this run, oldest first."), add]
    answer: Annotated[str, Field(description="The short answer; empty until the run has ended.")]
    report: Annotated[str, Field(description="The long report, if one was requested.")]
    structured_response: Annotated[Any, Field(description="The answer in the graph's `response_format`.")]
    ended_by: Annotated[
        str, Field(description="Why the run ended: verifier, planner, turns, time, context, stuck, interrupt.")
    ]
    usage: Annotated[dict[str, Usage], Field(description="Calls, tokens and seconds of each role."), add_usage]
    seconds: Annotated[float, Field(description="Seconds the run has worked, pauses excluded."), add]
    messages: Annotated[list[AnyMessage], Field(description="The chat: questions and answers."), add_chat]
    planner_turns: Annotated[
        list[dict[str, Any]], Field(description="Token ids of the planner's calls, if its model captures them."), add
    ]


class RunState(State, total=False):
    """The state as the modules see it, including private fields that appear in no stream or schema."""

    run: RunMark
    continues: Annotated[bool, EphemeralValue(bool)]
    """Set by the verifier for the planner's next visit; unset when a run starts."""
    speculation: Annotated[Speculation | None, EphemeralValue(dict)]
    """The next step, if it was planned ahead."""


FINISH = "finish"
"""With `verify="rules"` no model says when to stop, so the planner can: this tool name ends the run."""
