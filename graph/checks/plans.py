"""Doubts about a plan: figures and names that it has from nowhere must not reach the tool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from langchain_core.tools import BaseTool

from graph.checks.arguments import guess_complaint
from graph.checks.grounding import in_latin_script, names_something, unsupported_names, unsupported_numbers
from graph.memory import accepted_turns, known_texts
from graph.rendering import results_text
from graph.state import Plan, State
from tools.card import card_of, fence_of


@dataclass(frozen=True)
class Doubts:
    """What keeps parts of a plan from whoever writes the tool's input. Without doubts everything is shown."""

    leave_out_context: bool = False
    leave_out_question: bool = False
    warnings: tuple[str, ...] = ()
    """Sentences about the sub-goal."""

    def __or__(self, other: Doubts) -> Doubts:
        return Doubts(
            self.leave_out_context or other.leave_out_context,
            self.leave_out_question or other.leave_out_question,
            self.warnings + other.warnings,
        )


PlanCheck: TypeAlias = Callable[[Plan, BaseTool, State], Doubts]


def doubts_about(plan: Plan, tool: BaseTool, state: State, checks: Sequence[PlanCheck]) -> Doubts:
    """What all checks have against a plan for a tool."""
    doubts = Doubts()
    if in_latin_script(*known_texts(state), plan["context"], plan["sub_goal"]):
        for check in checks:
            doubts |= check(plan, tool, state)
    return doubts


def untold_context(plan: Plan, tool: BaseTool, state: State) -> Doubts:
    """The context holds a figure that was neither asked about nor found; or, for a search, such a name."""
    known = known_texts(state)
    invented = unsupported_numbers(plan["context"], [*known, results_text(accepted_turns(state))])
    if card_of(tool).quotes_sources:
        invented += unsupported_names(plan["context"], known)
    return Doubts(leave_out_context=bool(invented))


def guessed_goal(plan: Plan, tool: BaseTool, state: State) -> Doubts:
    """The sub-goal is to search for a name that nobody has told."""
    names = _guessed_names(plan, tool, state)
    return Doubts(warnings=(guess_complaint(names),) if names else ())


def sufficient_goal(plan: Plan, tool: BaseTool, state: State) -> Doubts:
    """The sub-goal says all that the tool needs: a small model would copy the question into a search.

    A program may serve the whole question, and a search whose goal is a guess or names nothing in particular needs it.
    """
    needs_question = (
        fence_of(tool) is not None
        or bool(_guessed_names(plan, tool, state))
        or (card_of(tool).quotes_sources and not names_something(plan["sub_goal"]))
    )
    return Doubts(leave_out_question=not needs_question)


def _guessed_names(plan: Plan, tool: BaseTool, state: State) -> list[str]:
    return unsupported_names(plan["sub_goal"], known_texts(state)) if card_of(tool).quotes_sources else []
