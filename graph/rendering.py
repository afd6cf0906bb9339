"""Turns, calls and results as text for the prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence

from langchain_core.messages import AnyMessage

from graph.chat import attachments_of, speaker_of, text_of
from graph.parsing import without_thinking
from graph.state import Failure, ToolCall, Turn


def step_text(turn: Turn) -> str:
    """A finished turn: its plan and its results."""
    plan = turn["plan"]
    if turn["error"] and not turn["calls"]:
        return failure_text(turn["error"])
    return f"{plan['tool_name']}: {plan['sub_goal'] or plan['input']}\n{calls_text(turn['calls'])}"


def results_text(turns: Sequence[Turn], limit: int | None = None, *, goals: bool = True) -> str:
    """Accepted results, numbered, each after the sub-goal it served unless `goals` is off."""
    parts = []
    for number, turn in enumerate(turns, 1):
        goal = f"{turn['plan']['sub_goal'] or turn['plan']['input']}\n" if goals else ""
        parts.append(f"{number}. {goal}{calls_text(turn['calls'], limit)}")
    return "\n".join(parts)


def calls_text(calls: Sequence[ToolCall], limit: int | None = None) -> str:
    """The outcome of each call of a turn."""
    parts = []
    for call in calls:
        outcome = call["result"] if call["error"] is None else failure_text(call["error"])
        parts.append(f"Result: {clip(outcome, limit) if limit else outcome}")
    return "\n".join(parts) or "Result: none"


def arguments_text(call: ToolCall) -> str:
    """A call's arguments: a single string as it is, anything else as JSON; a human may have sent dates and the like."""
    values = list(call["arguments"].values())
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return json.dumps(call["arguments"], ensure_ascii=False, default=str)


def failure_text(failure: Failure) -> str:
    """A failure as shown to the planner."""
    return f"failed: {failure['message']}"


def clip(text: str, limit: int) -> str:
    """Shorten a text to about `limit` characters, keeping its beginning and end."""
    if len(text) <= limit:
        return text
    head, tail = limit * 3 // 4, limit // 4
    return f"{text[:head]}\n[… {len(text) - head - tail:,} characters left out …]\n{text[len(text) - tail :]}"


def brief(text: str, limit: int = 80) -> str:
    """A text as it is quoted in a sentence: its first `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


_LEAST = 200
"""Characters below which a cut message tells nothing."""


def conversation_text(messages: Sequence[AnyMessage], question: str, limit: int) -> str:
    """Earlier exchanges of a chat, as the opening of a prompt; empty for a first question.

    Args:
        messages: The chat.
        question: The question in progress, which is left out if it is the last message.
        limit: Characters of all messages together. The newest are whole, the one that does not fit is cut, and those
            before it are left out; both are marked.
    """
    earlier = [message for message in messages if speaker_of(message) != "instructions"]
    if earlier and speaker_of(earlier[-1]) == "user" and text_of(earlier[-1]) == question:
        earlier = earlier[:-1]
    if not earlier:
        return ""
    lines: list[str] = []
    for message in reversed(earlier):
        line = _line(message)
        if len(line) > limit:
            lines += [clip(line, limit)] if limit >= _LEAST else []
            break
        lines.append(line)
        limit -= len(line)
    if left_out := len(earlier) - len(lines):
        lines.append(f"[… {left_out:,} earlier {'message' if left_out == 1 else 'messages'} left out …]")
    return "Conversation so far:\n" + "\n".join(reversed(lines)) + "\n\n"


def _line(message: AnyMessage) -> str:
    """One message of a conversation."""
    text = without_thinking(text_of(message))
    match speaker_of(message):
        case "user":
            return f"User: {' '.join([text, *(f'[{part.kind}]' for part in attachments_of(message))]).strip()}"
        case "assistant":
            calls = ", ".join(call["name"] for call in getattr(message, "tool_calls", ()))
            return f"Assistant: {text or (f'[calls {calls}]' if calls else '')}"
        case _:
            return f"Result of {message.name or 'a tool'}: {text}"
