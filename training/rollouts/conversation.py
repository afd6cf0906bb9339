"""Conversations in plain values: messages, tool calls and tools, free of any framework.

The policy (`training.rollouts.policy`) reads and writes these. LangChain's messages and an HTTP client's are converted
at the boundary. Two conversations are the same if their digests are: the digest covers roles, texts, calls and
tools, and leaves out what no chat template needs to agree on (ids of calls, thinking, names of people).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from training.rollouts.records import PlannerTurn

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class ToolCall:
    """One call that a reply asks for."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str = ""
    calls: tuple[ToolCall, ...] = ()
    """Of an assistant's message."""
    thinking: str = ""
    """Of an assistant's message, where the model's format sets it apart from the content."""
    name: str = ""
    """The tool, of a tool's result."""
    call_id: str = ""
    """The call that a tool's result answers."""
    record: Mapping[str, Any] | None = None
    """The turn that sampled a reply (`PlannerTurn.as_dict`), as it travels with the message through the agent."""
    turn: PlannerTurn | None = None
    """The same, once `Policy` has found that the message still says what was sampled."""
    own: bool = False
    """Whether the policy wrote it: its own marks then stay in its text."""

    @cached_property
    def digest(self) -> str:
        """Of what the message says: role, text, calls and the name of the tool."""
        calls = [(call.name, call.arguments) for call in self.calls]
        return _digest([self.role, self.content, calls, self.name])


@dataclass(frozen=True)
class ToolSet:
    """The tools that a call offers, as JSON schemas in OpenAI's form."""

    schemas: tuple[Mapping[str, Any], ...] = ()
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(str(tool["function"]["name"]) for tool in self.schemas))

    def __bool__(self) -> bool:
        return bool(self.schemas)

    @cached_property
    def digest(self) -> str:
        """Of the schemas, in their order."""
        return _digest(self.schemas)


NO_TOOLS = ToolSet()


def prefix_digests(messages: Sequence[Message], tools: ToolSet) -> list[str]:
    """The digest of each prefix of a conversation under these tools: item k is that of the first k messages."""
    total = hashlib.sha256(tools.digest.encode())
    digests = [total.hexdigest()[:32]]
    for message in messages:
        total.update(message.digest.encode())
        digests.append(total.hexdigest()[:32])
    return digests


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)  # ASCII, so that half a surrogate pair is no obstacle
    return hashlib.sha256(text.encode()).hexdigest()[:32]
