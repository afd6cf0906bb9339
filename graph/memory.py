"""Queries of the memory: accepted turns, source texts, the last result, a tool's failed call."""

from __future__ import annotations

from langchain_core.tools import BaseTool

from graph.chat import texts_of
from graph.rendering import calls_text
from graph.state import State, ToolCall, Turn


def last_result(state: State) -> str:
    """The last accepted result, or an empty string."""
    for turn in reversed(accepted_turns(state)):
        for call in reversed(turn["calls"]):
            result: str = call["result"].strip()
            if call["error"] is None and result:
                return result
    return ""


def source_texts(state: State) -> list[str]:
    """The texts that facts may come from: the chat, the question, and the accepted results."""
    return [*chat_texts(state), state["question"], *(calls_text(turn["calls"]) for turn in accepted_turns(state))]


def chat_texts(state: State) -> list[str]:
    """What was said in the chat, the answers included."""
    return [text for message in state.get("messages", []) for text in texts_of(message)]


def failed_call(tool: BaseTool, state: State) -> ToolCall | None:
    """The tool's last call, if it failed, and not because a service was down or slow."""
    calls = [
        call for turn in state.get("memory", []) if turn["plan"]["tool_name"] == tool.name for call in turn["calls"]
    ]
    error = calls[-1]["error"] if calls else None
    return calls[-1] if error is not None and error["kind"] not in ("unavailable", "timeout") else None


def accepted_turns(state: State) -> list[Turn]:
    """The turns whose results the generator may use."""
    return [turn for turn in state.get("memory", []) if turn["verdict"]["accepted"]]


def accepted_results(state: State) -> list[str]:
    """The results of accepted turns, without those of calls that failed."""
    return [call["result"] for turn in accepted_turns(state) for call in turn["calls"] if call["error"] is None]
