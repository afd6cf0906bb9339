"""Checks of a call's arguments before it is made: repeated failures, invented values, guessed names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import BaseModel, ValidationError

from graph.checks.grounding import unsupported_names
from graph.memory import known_texts
from graph.state import State, ToolCall
from tools.card import card_of

Arguments = dict[str, Any]


Reader = Callable[[str], list[Arguments] | str]
"""Takes a reply apart into the arguments of each call, or says in a sentence what is wrong with it."""


def unlike(failed: ToolCall | None, read: Reader) -> Reader:
    """A reader that does not take a call which is known to fail."""

    def read_anew(reply: str) -> list[Arguments] | str:
        found = read(reply)
        if failed is not None and found == [failed["arguments"]]:
            return "this very call was made and failed; its error is told above, so write another"
        return found

    return read_anew


def warned_once(tool: BaseTool, state: State, read: Reader) -> Reader:
    """A reader that says once what speaks against calls; what is written then is taken.

    They may all have been made before, or search for a name that nobody has told. A call whose result was rejected is
    warned of too, and made if the model insists: the verifier then judges it again.
    """
    made = [
        call["arguments"]
        for turn in state.get("memory", [])
        if turn["plan"]["tool_name"] == tool.name
        for call in turn["calls"]
        if call["error"] is None
    ]
    warned = False

    def read_once(reply: str) -> list[Arguments] | str:
        nonlocal warned
        found = read(reply)
        if warned or isinstance(found, str):
            return found
        warned = True
        if all(arguments in made for arguments in found):
            return "that was asked before and its result is known, so ask for something else that is still missing"
        if card_of(tool).quotes_sources:
            known = known_texts(state)
            written = [str(value) for arguments in found for value in arguments.values()]
            if guessed := [name for text in written for name in unsupported_names(text, known)]:
                return guess_complaint(guessed)
        return found

    return read_once


def arguments_complaint(tool: BaseTool, one_call: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with a call's arguments by the tool's schema, in one sentence, or None."""
    schema = tool.args_schema
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):  # e.g. MCP tools: the server checks
        missing = [name for name in one_call.get("required", []) if name not in arguments]
        return f"the argument `{missing[0]}` of {tool.name} is missing" if missing else None
    unknown = [name for name in arguments if name not in tool.args]
    if unknown:
        return f"{tool.name} has no argument `{unknown[0]}`; its arguments are {', '.join(tool.args)}"
    try:
        schema.model_validate(dict(arguments))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the call"
        return f"the argument `{where}` of {tool.name} is wrong: {first['msg']}"
    return None


def guess_complaint(names: Sequence[str]) -> str:
    """Why a search should not be for these names."""
    told = ", ".join(names)
    return f"neither the question nor a result tells {told}, so that is a guess; search with what the question says"
