"""Checks of a call's arguments before the call: invented facts, repeated calls, guessed names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from langchain_core.tools import BaseTool

from graph.chat import attachments_in
from graph.checks.english import in_english, in_latin_script
from graph.checks.evidence import Evidence
from graph.checks.grounding import names_something, unsupported_names
from graph.checks.literals import Literal
from graph.checks.provenance import Sources, invented, invented_in_values
from graph.memory import chat_texts, failed_call, source_texts
from graph.parsing import Arguments
from graph.parsing.complaints import Hopeless
from graph.rendering import brief
from graph.state import Plan, State
from tools.arguments import arguments_of
from tools.card import card_of, fence_of

Reader = Callable[[str], list[Arguments] | str]
"""Parses a reply into the arguments of each call, or says in a sentence what is wrong with it."""


@dataclass(frozen=True)
class Proposal:
    """Calls of one tool, as a model proposes them."""

    tool: BaseTool
    arguments: list[Arguments]
    """One entry per call."""
    state: State
    tools: Sequence[BaseTool] | None = None
    """The tools of the run, where they are known."""


@dataclass(frozen=True)
class ArgumentCheck:
    """One check of proposed calls."""

    complaint: Callable[[Proposal], str | None]
    """Says what is wrong and asks for better calls; None if nothing is wrong."""
    once: bool = False
    """Whether this is only a warning: whatever the model writes after it is called."""
    wants_facts: bool = False
    """Whether the calls lack facts: where these can be looked up first, the model is not asked to write them again."""


def checked(
    read: Reader,
    checks: Sequence[ArgumentCheck],
    tool: BaseTool,
    state: State,
    tools: Sequence[BaseTool],
) -> Reader:
    """A reader that also applies the checks to the calls of a tool, one of the tools of the run."""
    warned = False

    def read_checked(reply: str) -> list[Arguments] | str:
        nonlocal warned
        arguments = read(reply)
        if isinstance(arguments, str):
            return arguments
        proposal = Proposal(tool, arguments, state, tools)
        for check in checks:
            if check.once and warned:
                continue
            if complaint := check.complaint(proposal):
                warned = warned or check.once
                hopeless = check.wants_facts and Evidence.of(state, tools).can_be_looked_up
                return Hopeless(complaint) if hopeless else complaint
        return arguments

    return read_checked


def invented_fact(proposal: Proposal) -> str | None:
    """A number, date or name of the calls comes neither from the question, the chat or a result, nor is customary.

    A search may be for anything, and what is attached to the chat cannot be read here.
    """
    tool, state = proposal.tool, proposal.state
    texts = source_texts(state)
    card, fence = card_of(tool), fence_of(tool)
    is_look_up = card.quotes_sources or bool(card.asks_role)
    if is_look_up or fence not in (None, "python") or attachments_in(state.get("messages", [])):
        return None
    values = [str(value) for call in proposal.arguments for value in call.values()]
    if not in_english(state["question"], *texts, *values):
        return None
    if fence:
        sources = Sources.of(texts)
        literals = [literal for code in values for literal in invented(code, sources)]
    else:  # values that the tool itself names may be chosen from
        sources = Sources.of([*texts, tool.description, json.dumps(arguments_of(tool).schema)])
        literals = [literal for call in proposal.arguments for literal in invented_in_values(call, sources)]
    return _made_up(literals) if literals else None


_MOST_NAMED = 6


def _made_up(literals: Sequence[Literal]) -> str:
    """Asks for the facts instead of made-up literals; the planner reads it if the executor insists."""
    shown = ", ".join(f"`{literal}`" for literal in literals[:_MOST_NAMED])
    named = dict.fromkeys(brief(literal.name) for literal in literals[:_MOST_NAMED] if literal.name)
    missing = ", ".join(named) or "what they stand for"
    return (
        f"{shown} {'is' if len(literals) == 1 else 'are'} made up: neither the question nor a result tells it. "
        f"Look up first: {missing}"
    )


def failed_before(proposal: Proposal) -> str | None:
    """The call is the failed one that the prompt quotes."""
    failed = failed_call(proposal.tool, proposal.state)
    if failed is not None and proposal.arguments == [failed["arguments"]]:
        return "this very call was made and failed; its error is told above, so write another"
    return None


def asked_before(proposal: Proposal) -> str | None:
    """All calls were made before. After a rejection that may be intended, so this is only a warning."""
    earlier = [
        call["arguments"]
        for turn in proposal.state.get("memory", [])
        if turn["plan"]["tool_name"] == proposal.tool.name
        for call in turn["calls"]
        if call["error"] is None
    ]
    if all(arguments in earlier for arguments in proposal.arguments):
        return "that was asked before and its result is known, so ask for something else that is still missing"
    return None


def guessed_name(proposal: Proposal) -> str | None:
    """A search for a name that is in neither the question nor a result."""
    sources = source_texts(proposal.state)
    texts = [str(value) for arguments in proposal.arguments for value in arguments.values()]
    if not card_of(proposal.tool).quotes_sources or not in_english(proposal.state["question"], *sources, *texts):
        return None
    names = [name for text in texts for name in unsupported_names(text, sources)]
    return guess_complaint(names) if names else None


def plain_query(plan: Plan, tool: BaseTool, state: State) -> str | None:
    """The sub-goal as the query of a tool that takes plain words, or the question if the sub-goal names nothing.

    Small models copy one of the two; where it repeats a query or guesses a name, the model is asked after all.
    """
    goal, question = plan["sub_goal"], state["question"]
    if not card_of(tool).plain_words or not in_latin_script(goal, question):
        return None
    if names_something(goal):
        return goal
    return question if set(chat_texts(state)) <= {question} else None


def guess_complaint(names: Sequence[str]) -> str:
    """Why a search should not be for these names."""
    return (
        f"neither the question nor a result tells {', '.join(map(brief, names[:_MOST_NAMED]))}, so that is a guess; "
        "search with what the question says"
    )
