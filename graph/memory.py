"""Queries of the memory: accepted turns, known texts, the last result, the last failed call."""

from __future__ import annotations

from langchain_core.tools import BaseTool

from graph.rendering import calls_text
from graph.state import State, ToolCall, Turn


def last_result(state: State) -> str:
    """The last result that was accepted, or an empty text."""
    for turn in reversed(accepted_turns(state)):
        for call in reversed(turn["calls"]):
            result: str = call["result"].strip()
            if call["error"] is None and result:
                return result
    return ""


def known_texts(state: State) -> list[str]:
    """What may be taken for a fact: what was said in the chat, and the results that were accepted."""
    said = [str(message.text) for message in state.get("messages", [])]
    return [*said, state["question"], *(calls_text(turn["calls"]) for turn in accepted_turns(state))]


def failed_call(tool: BaseTool, state: State) -> ToolCall | None:
    """The last call of the tool, if it failed by its own fault and not by a service that was down."""
    calls = [
        call for turn in state.get("memory", []) if turn["plan"]["tool_name"] == tool.name for call in turn["calls"]
    ]
    error = calls[-1]["error"] if calls else None
    return calls[-1] if error is not None and error["kind"] not in ("unavailable", "timeout") else None


def accepted_turns(state: State) -> list[Turn]:
    """The turns whose results may be used."""
    return [turn for turn in state.get("memory", []) if turn["verdict"]["accepted"]]
