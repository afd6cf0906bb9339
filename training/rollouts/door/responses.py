"""Responses of the door: chat completions, whole or as a stream made from the whole reply, models, and errors."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, convert_to_openai_messages

from training.rollouts.door.requests import Refused

STREAM_END = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Answer:
    """A reply of the policy in OpenAI's format."""

    message: AIMessage
    id: str
    model: str
    """The model name of the request."""

    def completion(self) -> dict[str, Any]:
        """The chat completion."""
        choice = {"index": 0, "message": self._said(), "logprobs": None, "finish_reason": self._finish_reason()}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self._usage()}

    def stream(self, *, usage: bool) -> Iterator[bytes]:
        """The chat completion as server-sent events.

        Args:
            usage: whether an event with the usage is sent.
        """
        said = self._said()
        first = {name: said[name] for name in ("role", "content", "reasoning_content") if said.get(name) is not None}
        deltas: list[dict[str, Any]] = [{"content": "", **first}]
        deltas += [{"tool_calls": [{"index": n, **call}]} for n, call in enumerate(said.get("tool_calls") or ())]
        head = self._head("chat.completion.chunk")
        for delta in deltas:
            yield _event({**head, "choices": [_piece(delta, None)]})
        yield _event({**head, "choices": [_piece({}, self._finish_reason())]})
        if usage:
            yield _event({**head, "choices": [], "usage": self._usage()})
        yield STREAM_END

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": int(time.time()), "model": self.model}

    def _said(self) -> dict[str, Any]:
        [said] = convert_to_openai_messages([self.message])
        if thinking := self.message.additional_kwargs.get("reasoning_content"):
            said["reasoning_content"] = thinking
        if said.get("tool_calls") and not said["content"]:
            said["content"] = None
        return {**said, "refusal": None}

    def _finish_reason(self) -> str:
        return "tool_calls" if self.message.tool_calls else str(self.message.response_metadata["finish_reason"])

    def _usage(self) -> dict[str, int]:
        cost = self.message.usage_metadata
        assert cost is not None
        return {
            "prompt_tokens": cost["input_tokens"],
            "completion_tokens": cost["output_tokens"],
            "total_tokens": cost["total_tokens"],
        }


def models(names: Sequence[str]) -> dict[str, Any]:
    """The list of models, one per role."""
    return {"object": "list", "data": [model(name) for name in names]}


def model(name: str) -> dict[str, Any]:
    """A model of the list."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "agentflow"}


def error_body(refused: Refused) -> dict[str, Any]:
    """An error in OpenAI's format."""
    kind = "invalid_request_error" if refused.status < 500 else "server_error"
    return {"error": {"message": str(refused), "type": kind, "param": refused.param, "code": refused.code}}


def _piece(delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _event(chunk: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()
