"""Turns replies of OpenAI-compatible servers into messages, whole or streamed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall, ToolCallChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.output_parsers.openai_tools import make_invalid_tool_call, parse_tool_call

from tools.text import TextStream, well_formed

_THINKING = ("reasoning_content", "reasoning", "thinking")
"""Fields for a model's thinking, besides the content."""


def message_of(reply: Mapping[str, Any], *, tools_asked: bool) -> AIMessage | None:
    """The message of a complete reply, or None if it contains none.

    Args:
        reply: The server's JSON object.
        tools_asked: Whether the request offered tools. If not, tool calls that the server has extracted from the text
            are put back, because the caller parses the text.
    """
    choice = _choice(reply)
    whole = choice.get("message")
    if not isinstance(whole, dict):
        if not isinstance(choice.get("text"), str):
            return None
        whole = {"content": choice["text"]}
    text, thinking = map(well_formed, _parts(whole))
    calls = _tool_calls(whole)
    message = AIMessage(
        content=text if tools_asked else _with_calls(text, calls),
        additional_kwargs=_extras(reply, choice, thinking),
        response_metadata=_metadata(reply, choice),
        usage_metadata=_usage(reply),
    )
    if tools_asked:
        message.tool_calls, message.invalid_tool_calls = _parsed(calls)
    return message


class StreamedReply:
    """A streamed reply.

    LangChain concatenates the metadata of chunks and adds up their usage, so both are sent with the last chunk only:
    servers send them once, with every event, or as running totals.

    Args:
        tools_asked: See `message_of`.
    """

    def __init__(self, *, tools_asked: bool) -> None:
        self._tools_asked = tools_asked
        self._text, self._thinking = TextStream(), TextStream()
        self._metadata: dict[str, Any] = {"finish_reason": None, "model_name": None}
        self._usage: UsageMetadata | None = None
        self._calls: dict[Any, dict[str, Any]] = {}
        self._has_prompt = False

    def chunk(self, event: Mapping[str, Any]) -> AIMessageChunk | None:
        """The chunk for an event; None if there is nothing to show yet."""
        choice = _choice(event)
        delta = choice.get("delta") or choice.get("message")
        delta = delta if isinstance(delta, dict) else {"content": choice.get("text")}
        self._metadata |= {key: value for key, value in _metadata(event, choice).items() if value}
        self._usage = _larger(self._usage, _usage(event))
        calls = _tool_calls(delta)
        for place, call in enumerate(calls):
            self._add_call(call, place)
        text, thinking = _parts(delta)
        text, thinking = self._text.feed(text), self._thinking.feed(thinking)
        extras = _extras(event, choice, thinking)
        if self._has_prompt:
            extras.get("tokens", {}).pop("prompt_token_ids", None)
        self._has_prompt = self._has_prompt or "prompt_token_ids" in extras.get("tokens", {})
        pieces = _call_chunks(calls) if self._tools_asked else []
        if not (text or extras or pieces):
            return None
        return AIMessageChunk(content=text, additional_kwargs=extras, tool_call_chunks=pieces)

    def last_chunk(self) -> AIMessageChunk:
        """The last chunk: metadata, usage, and tool calls put back into the text."""
        text, thinking = self._text.end(), self._thinking.end()
        if not self._tools_asked:
            text = _with_calls(text, list(self._calls.values()))
        return AIMessageChunk(
            content=text,
            additional_kwargs={"reasoning_content": thinking} if thinking else {},
            response_metadata=self._metadata,
            usage_metadata=self._usage,
        )

    def _add_call(self, piece: Mapping[str, Any], place: int) -> None:
        call = self._calls.setdefault(piece.get("index", place), {"function": {"name": "", "arguments": ""}})
        function = piece.get("function") or {}
        call["function"]["name"] = call["function"]["name"] or function.get("name") or ""
        call["function"]["arguments"] += _written(function.get("arguments"))


def _choice(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else {}


def _parts(message: Mapping[str, Any]) -> tuple[str, str]:
    """The text and the thinking of a message, wherever the server has put them."""
    content = message.get("content")
    texts, thoughts = [], []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, dict) and part.get("type") in ("thinking", "reasoning"):
            thoughts.append(_thought(part.get("thinking") or part.get("content")))
    beside = next((message[key] for key in _THINKING if isinstance(message.get(key), str) and message[key]), "")
    refusal = message.get("refusal")
    text = "".join(texts) or (refusal if isinstance(refusal, str) else "")
    return text, beside or "".join(thoughts)


def _thought(part: Any) -> str:
    if isinstance(part, list):
        return "".join(_thought(piece) for piece in part)
    if isinstance(part, dict):
        part = part.get("text")
    return part if isinstance(part, str) else ""


def _tool_calls(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    calls = message.get("tool_calls")
    if not calls and isinstance(message.get("function_call"), dict):  # before there were tools
        calls = [{"index": 0, "function": message["function_call"]}]
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _written(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)


def _with_calls(text: str, calls: Sequence[Mapping[str, Any]]) -> str:
    """The text, with tool calls that the server has extracted put back as models write them."""
    tags = []
    for call in calls:
        function = call.get("function") or {}
        arguments = _written(function.get("arguments")) or "{}"
        name = json.dumps(function.get("name") or "", ensure_ascii=False)
        tags.append(f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>')
    return "\n".join([*([text] if text else []), *tags])


def _parsed(calls: Sequence[Mapping[str, Any]]) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    good: list[ToolCall] = []
    bad: list[InvalidToolCall] = []
    for number, call in enumerate(calls):
        function = call.get("function") or {}
        raw = {
            "id": call.get("id") or f"call_{number}",
            "function": {"name": function.get("name") or "", "arguments": _written(function.get("arguments")) or "{}"},
        }
        try:
            if (parsed := parse_tool_call(raw, return_id=True)) is not None:
                good.append(ToolCall(name=parsed["name"], args=parsed["args"], id=parsed["id"], type="tool_call"))
        except OutputParserException as error:
            bad.append(make_invalid_tool_call(raw, str(error)))
    return good, bad


def _call_chunks(calls: Sequence[Mapping[str, Any]]) -> list[ToolCallChunk]:
    return [
        ToolCallChunk(
            name=(call.get("function") or {}).get("name"),
            args=_written((call.get("function") or {}).get("arguments")),
            id=call.get("id"),
            index=call.get("index", place),
            type="tool_call_chunk",
        )
        for place, call in enumerate(calls)
    ]


def _metadata(reply: Mapping[str, Any], choice: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"finish_reason": choice.get("finish_reason") or None, "model_name": reply.get("model")}
    if "timings" in reply:
        metadata["timings"] = reply["timings"]
    return metadata


def _extras(reply: Mapping[str, Any], choice: Mapping[str, Any], thinking: str) -> dict[str, Any]:
    """Additional data from servers: token ids, log-probs, and the thinking of reasoning models."""
    logprobs = choice.get("logprobs")
    tokens = {
        "prompt_token_ids": reply.get("prompt_token_ids") or choice.get("prompt_token_ids"),
        "token_ids": choice.get("token_ids"),
        "logprobs": logprobs.get("content") if isinstance(logprobs, dict) else None,
    }
    tokens = {name: value for name, value in tokens.items() if value is not None}
    extras: dict[str, Any] = {"tokens": tokens} if tokens else {}
    if thinking:
        extras["reasoning_content"] = thinking
    return extras


def _usage(reply: Mapping[str, Any]) -> UsageMetadata | None:
    usage = reply.get("usage")
    if not isinstance(usage, dict):
        return None
    read, written = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    metadata = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
    before, within = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    if isinstance(before, dict) and before.get("cached_tokens") is not None:
        metadata["input_token_details"] = {"cache_read": _count(before, "cached_tokens")}
    if isinstance(within, dict) and within.get("reasoning_tokens") is not None:
        metadata["output_token_details"] = {"reasoning": _count(within, "reasoning_tokens")}
    return metadata


def _count(usage: Mapping[str, Any], name: str) -> int:
    try:
        return max(0, int(usage.get(name) or 0))
    except (TypeError, ValueError, OverflowError):
        return 0


def _larger(one: UsageMetadata | None, other: UsageMetadata | None) -> UsageMetadata | None:
    """Merge two usage reports of one reply: the later includes the earlier."""
    if one is None or other is None:
        return one or other
    return other if other["total_tokens"] >= one["total_tokens"] else one
