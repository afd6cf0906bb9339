"""Conversion between LangChain's messages and the policy's."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata

from graph.errors import ConfigError
from training.rollouts.conversation import Message, Role, ToolCall

CAPTURED = "captured"
"""Key of a reply's record in its `additional_kwargs`."""

_THINKING = "reasoning_content"
"""Key of a reply's thinking in its `additional_kwargs`, as LangChain's own integrations have it."""

_ROLES: dict[type[BaseMessage], Role] = {SystemMessage: "system", HumanMessage: "user"}
_CHAT_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "human": "user",
                                "assistant": "assistant", "ai": "assistant"}  # fmt: skip
_NOT_SHOWN = frozenset({"reasoning", "thinking", "redacted_thinking", "tool_use", "tool_call", "function_call"})
"""Parts of a reply's content that are no text: calls stand in `tool_calls`, and thinking of others is not told."""


def conversation_of(messages: Sequence[BaseMessage]) -> list[Message]:
    """A conversation in plain values.

    Raises:
        ConfigError: a message holds something other than text, or is of a type that no chat template has.
    """
    names: dict[str, str] = {}
    conversation: list[Message] = []
    for message in messages:
        plain = _plain(message, names)
        names |= {call.id: call.name for call in plain.calls}
        conversation.append(plain)
    return conversation


def _plain(message: BaseMessage, names: Mapping[str, str]) -> Message:
    content = _text(message)
    if isinstance(message, AIMessage):
        calls = tuple(ToolCall(call["name"], call["args"], call["id"] or "") for call in message.tool_calls)
        record = message.additional_kwargs.get(CAPTURED)
        thinking = message.additional_kwargs.get(_THINKING)
        return Message(
            "assistant", content, calls, thinking if isinstance(thinking, str) else "",
            record=record if isinstance(record, Mapping) else None,
        )  # fmt: skip
    if isinstance(message, ToolMessage):
        name = message.name or names.get(message.tool_call_id, "")
        return Message("tool", content, name=name, call_id=message.tool_call_id)
    if isinstance(message, FunctionMessage):
        return Message("tool", content, name=message.name)
    role = next((role for kind, role in _ROLES.items() if isinstance(message, kind)), None)
    if isinstance(message, ChatMessage):
        role = _CHAT_ROLES.get(message.role)
    if role is None:
        raise ConfigError(f"The policy cannot read a message of type {message.type}.")
    return Message(role, content)


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    parts: list[str] = []
    for part in message.content:
        if isinstance(part, str):
            parts.append(part)
        elif part.get("type", "text") == "text" and isinstance(part.get("text"), str):
            parts.append(part["text"])
        elif not (isinstance(message, AIMessage) and part.get("type") in _NOT_SHOWN):
            raise ConfigError(
                f"The policy reads text alone, and a message of type {message.type} holds a part of type "
                f"{part.get('type')!r}: pictures and files have no tokens that could be trained on. Leave them out, or "
                "have a frozen model describe them."
            )
    return "".join(parts)


def ai_message_of(reply: Message, model: str) -> AIMessage:
    """A reply of the policy as LangChain has it; the record of what was sampled travels with it."""
    turn = reply.turn
    assert turn is not None
    sizes = len(turn.prompt_ids), len(turn.completion_ids)
    extra: dict[str, Any] = {CAPTURED: turn.as_dict()}
    if reply.thinking:
        extra[_THINKING] = reply.thinking
    return AIMessage(
        reply.content,
        additional_kwargs=extra,
        # A tool may change its arguments; what was said stays what it was.
        tool_calls=[
            {"name": call.name, "args": copy.deepcopy(dict(call.arguments)), "id": call.id, "type": "tool_call"}
            for call in reply.calls
        ],
        response_metadata={
            "finish_reason": turn.finish_reason, "policy_version": turn.policy_version, "model_name": model,
        },
        usage_metadata=UsageMetadata(input_tokens=sizes[0], output_tokens=sizes[1], total_tokens=sum(sizes)),
    )  # fmt: skip
