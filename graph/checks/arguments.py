"""Checks of a call's arguments before the call: repeated calls, invented values, guessed names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from langchain_core.tools import BaseTool

from graph.checks.grounding import in_latin_script, invented_assignment, unsupported_names
from graph.memory import failed_call, source_texts
from graph.parsing import Arguments
from graph.state import State
from tools.card import card_of, fence_of

Reader = Callable[[str], list[Arguments] | str]
"""Parses a reply into the arguments of each call, or says in a sentence what is wrong with it."""


@dataclass(frozen=True)
class Proposal:
    """Calls of one tool, as a model proposes them."""

    tool: BaseTool
    arguments: list[Arguments]
    """One entry per call."""
    prompt: str
    """The part of the prompt that describes the step."""
    state: State


@dataclass(frozen=True)
class ArgumentCheck:
    """One check of proposed calls."""

    complaint: Callable[[Proposal], str | None]
    """Says what is wrong and asks for better calls; None if nothing is wrong."""
    once: bool = False
    """Whether this is only a warning: whatever the model writes after it is called."""


def checked(read: Reader, checks: Sequence[ArgumentCheck], tool: BaseTool, *, prompt: str, state: State) -> Reader:
    """A reader that also applies the checks; for tool, prompt and state see `Proposal`."""
    warned = False

    def read_checked(reply: str) -> list[Arguments] | str:
        nonlocal warned
        arguments = read(reply)
        if isinstance(arguments, str):
            return arguments
        proposal = Proposal(tool, arguments, prompt, state)
        for check in checks:
            if check.once and warned:
                continue
            if complaint := check.complaint(proposal):
                warned = warned or check.once
                return complaint
        return arguments

    return read_checked


def invented_value(proposal: Proposal) -> str | None:
    """A program sets a variable to a number that appears nowhere in its prompt."""
    if fence_of(proposal.tool) != "python" or not in_latin_script(*source_texts(proposal.state)):
        return None
    for arguments in proposal.arguments:
        for code in arguments.values():
            if assignment := invented_assignment(str(code), [proposal.prompt]):
                return f"`{assignment}` is made up: that value stands neither in the question nor in a result"
    return None


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
    if not card_of(proposal.tool).quotes_sources or not in_latin_script(*sources, *texts):
        return None
    names = [name for text in texts for name in unsupported_names(text, sources)]
    return guess_complaint(names) if names else None


def guess_complaint(names: Sequence[str]) -> str:
    """Why a search should not be for these names."""
    return (
        f"neither the question nor a result tells {', '.join(names)}, so that is a guess; search with what the "
        "question says"
    )
