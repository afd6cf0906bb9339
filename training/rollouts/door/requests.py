"""Parsing of requests for chat completions: what the policy can do, or the reason why it cannot.

A parameter takes effect or is refused; nothing that would change the meaning of the reply is ignored. Two kinds of
parameters have no effect: those of sampling, which the settings of the run decide as with `PolicyChat`, and those for
a provider's bookkeeping.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import BaseMessage, convert_to_messages
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from tools.text import well_formed_value

WITHOUT_EFFECT = frozenset({
    "temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty", "repetition_penalty",
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
})  # fmt: skip

_FREE = "Decoding is unconstrained, since forced tokens are not the policy's"
_REASONS = {
    "n": "A call has one reply; make several calls.",
    "logprobs": "Log-probabilities stay with the trainer.",
    "top_logprobs": "Log-probabilities stay with the trainer.",
    "logit_bias": f"{_FREE}.",
    "response_format": f"{_FREE}: ask for the form in the prompt, or offer a tool that takes it.",
    "functions": "Use `tools`.",
    "function_call": "Use `tools` and `tool_choice`.",
    "modalities": "The policy reads and writes text alone.",
    "audio": "The policy reads and writes text alone.",
}
_NEUTRAL: Mapping[str, Sequence[object]] = {
    "n": (1,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
"""Values without effect, beside null, false, 0 and empty ones."""


class Refused(Exception):
    """A refused request: reason, HTTP status, and the fields of OpenAI's error."""

    def __init__(self, message: str, *, status: int = 400, code: str = "unsupported", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


class _Function(BaseModel):
    name: str = Field(min_length=1)
    arguments: str = "{}"


class _AssistantCall(BaseModel):
    id: str = ""
    type: Literal["function"] = "function"
    function: _Function


class _Message(BaseModel):
    """A message; fields that providers add to replies (annotations, refusals) are ignored."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[_AssistantCall] | None = None
    tool_call_id: str = ""
    name: str | None = None


class _Schema(BaseModel):
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(BaseModel):
    type: Literal["function"]
    function: _Schema


class _StreamOptions(BaseModel):
    include_usage: bool | None = None


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")

    messages: list[_Message] = Field(min_length=1)
    model: str | None = None
    tools: list[_Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    stop: str | list[str] | None = None
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


@dataclass(frozen=True)
class ChatRequest:
    """A valid request."""

    model: str
    messages: list[BaseMessage]
    tools: Sequence[Mapping[str, Any]]
    """The schemas as sent."""
    settings: Mapping[str, Any]
    """Arguments of `PolicyChat`: stop texts, tool choice, length."""
    streamed: bool
    usage_in_stream: bool


def read_request(data: bytes) -> ChatRequest:
    """Parses the body of a request.

    Raises:
        Refused: the request is invalid, or the policy cannot do what it asks for.
    """
    try:
        plain = well_formed_value(json.loads(data))
        body = _Body.model_validate(plain)
    except ValidationError as error:
        raise _invalid(error) from error
    except (ValueError, RecursionError) as error:
        raise Refused("The body is no JSON object of a chat completion.", code="invalid_request") from error
    for name, value in (body.model_extra or {}).items():
        if value and name not in WITHOUT_EFFECT and value not in _NEUTRAL.get(name, ()):
            reason = _REASONS.get(name, "The policy knows no such parameter.")
            raise Refused(f"The parameter `{name}` cannot be used here. {reason}", param=name)
    settings = {
        "stop": [body.stop] if isinstance(body.stop, str) else body.stop,
        "tool_choice": body.tool_choice,
        "parallel_tool_calls": body.parallel_tool_calls,
        "max_tokens": body.max_completion_tokens or body.max_tokens,
    }
    return ChatRequest(
        model=body.model or "",
        messages=_messages(body.messages),
        tools=plain.get("tools") or (),
        settings={name: value for name, value in settings.items() if value is not None},
        streamed=bool(body.stream),
        usage_in_stream=bool(body.stream_options and body.stream_options.include_usage),
    )


def _messages(messages: Sequence[_Message]) -> list[BaseMessage]:
    plain = []
    for message in messages:
        fields = message.model_dump(exclude_none=True, exclude_defaults=True) | {"content": message.content or ""}
        if message.role == "tool":
            fields.setdefault("tool_call_id", "")
        elif message.role != "assistant":
            fields = {name: fields[name] for name in ("role", "content")}
        for call in fields.get("tool_calls", ()):
            call.setdefault("id", "")
            call["function"].setdefault("arguments", "{}")
        plain.append(fields)
    try:
        return convert_to_messages(plain)
    except (ValueError, RecursionError) as error:
        raise Refused(
            "The arguments of a tool call in an assistant's message are no JSON object.",
            code="invalid_request",
            param="messages",
        ) from error


def _invalid(error: ValidationError) -> Refused:
    """The first error of a request."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, problem["loc"]))
    return Refused(f"{place or 'The body'}: {problem['msg']}.", code="invalid_request", param=place)
