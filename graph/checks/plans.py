"""Doubts about a plan: numbers and names without a source must not reach the tool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from langchain_core.tools import BaseTool

from graph.checks.arguments import guess_complaint
from graph.checks.english import in_english
from graph.checks.grounding import names_something, unsupported_names, unsupported_numbers
from graph.memory import accepted_turns, source_texts
from graph.rendering import results_text
from graph.state import Failure, Plan, State, Turn
from tools.card import card_of, fence_of


@dataclass(frozen=True)
class Doubts:
    """What the executor's prompt leaves out of a plan, or warns about, or why the plan is refused.

    Without doubts it shows everything.
    """

    leave_out_context: bool = False
    leave_out_question: bool = False
    leave_out_goal: bool = False
    warnings: tuple[str, ...] = ()
    """Sentences that follow the sub-goal."""
    refusal: Failure | None = None
    """Why the step is not carried out at all."""

    def __or__(self, other: Doubts) -> Doubts:
        return Doubts(
            self.leave_out_context or other.leave_out_context,
            self.leave_out_question or other.leave_out_question,
            self.leave_out_goal or other.leave_out_goal,
            self.warnings + other.warnings,
            self.refusal or other.refusal,
        )


@dataclass(frozen=True)
class Planned:
    """A step as planned, before it is carried out."""

    plan: Plan
    tool: BaseTool
    """The tool it chose."""
    state: State
    tools: Sequence[BaseTool]
    """The tools it could choose from."""


PlanCheck: TypeAlias = Callable[[Planned], Doubts]
"""One check of a planned step."""


def doubts_about(step: Planned, checks: Sequence[PlanCheck]) -> Doubts:
    """The doubts of all checks together."""
    doubts = Doubts()
    if checks and in_english(
        step.state["question"], *source_texts(step.state), step.plan["context"], step.plan["sub_goal"]
    ):
        for check in checks:
            doubts |= check(step)
    return doubts


def invented_context(step: Planned) -> Doubts:
    """The context has a number (or, for a search, a name) that is in neither the question nor a result."""
    context, sources = step.plan["context"], source_texts(step.state)
    invented = unsupported_numbers(context, [*sources, results_text(accepted_turns(step.state))])
    if card_of(step.tool).quotes_sources:
        invented += unsupported_names(context, sources)
    return Doubts(leave_out_context=bool(invented))


def guessed_goal(step: Planned) -> Doubts:
    """The sub-goal is to search for a name that is in neither the question nor a result."""
    names = _guessed_names(step)
    return Doubts(warnings=(guess_complaint(names),) if names else ())


def sufficient_goal(step: Planned) -> Doubts:
    """The sub-goal is enough for the tool, so the question is left out: a small model would copy it into a search.

    A program may serve the whole question, and a search needs it when its goal is a guess or names nothing.
    """
    needs_question = (
        fence_of(step.tool) is not None
        or bool(_guessed_names(step))
        or (card_of(step.tool).quotes_sources and not names_something(step.plan["sub_goal"]))
    )
    return Doubts(leave_out_question=not needs_question)


def planned_before(step: Planned) -> Doubts:
    """The step is the last accepted one, word for word, and no call of that failed: nothing was learned since.

    Small models repeat themselves. A step without a sub-goal is about the whole question, and may go on.
    """
    plan, last = step.plan, accepted_turns(step.state)[-1:]
    if plan["sub_goal"] and any(_step(turn["plan"]) == _step(plan) and _succeeded(turn) for turn in last):
        message = "the same step was taken before and its result is known; take another step"
        return Doubts(refusal=Failure(kind="repeat", message=message))
    return Doubts()


def _step(plan: Plan) -> tuple[str, str, str]:
    return plan["tool_name"], plan["sub_goal"], plan["context"]


def _succeeded(turn: Turn) -> bool:
    return all(call["error"] is None for call in turn["calls"])


def _guessed_names(step: Planned) -> list[str]:
    if not card_of(step.tool).quotes_sources:
        return []
    return unsupported_names(step.plan["sub_goal"], source_texts(step.state))
