"""One rollout behind the door: its key, its policy and its open calls."""

from __future__ import annotations

import asyncio
import contextvars
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from graph.errors import ConfigError, ContextLengthExceeded
from tools.spans import note_span
from training.rollouts.door.requests import ChatRequest, Refused
from training.rollouts.policy import CallLimitReached
from training.rollouts.policy_chat import CAPTURED, PolicyChat
from training.rollouts.run_record import RunRecord, in_role

TOO_MANY_CALLS, CONTEXT_LENGTH = "too_many_calls", "context_length_exceeded"
"""Codes of refusals that explain how a run ended."""


class Session:
    """A rollout that can call its policy until it is closed.

    Args:
        policy: the policy of the run.
        roles: roles of the policy, which are model names for the agent.
        most_calls: limit of calls.
    """

    def __init__(self, policy: PolicyChat, roles: Sequence[str], most_calls: int) -> None:
        self.name = f"{re.sub(r'[^A-Za-z0-9_]+', '-', policy.run)[-60:]}-{secrets.token_hex(4)}"
        """Its part of the URL; each attempt at a run has another."""
        self.key = secrets.token_urlsafe(24)
        self.roles = tuple(roles)
        self.policy = policy
        self.record = RunRecord(policy.policy)
        self.failure: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        """A failure around the run, after which no call can succeed."""
        self.refusals: list[Refused] = []
        """Refused requests."""
        policy.policy.most_calls = most_calls
        self._context = contextvars.copy_context()  # a request has another context than the run
        self._idle_since = time.perf_counter()
        self._replies: dict[str, Mapping[str, Any]] = {}
        self._tools: dict[str, Sequence[Mapping[str, Any]]] = {}
        self._under_way: set[asyncio.Task[AIMessage]] = set()
        self._closed = False

    def opened_by(self, key: str) -> bool:
        """Whether the key is right."""
        return hmac.compare_digest(key.encode("utf-8", "surrogateescape"), self.key.encode())

    def role_of(self, model: str) -> str:
        """The role of a model name; a single role has all names.

        Raises:
            Refused: none of several roles has the name.
        """
        if model in self.roles or len(self.roles) == 1:
            return model if model in self.roles else self.roles[0]
        raise Refused(
            f"There is no model {model!r}; the roles are {', '.join(self.roles)}.",
            status=404, code="model_not_found", param="model",
        )  # fmt: skip

    async def reply(self, role: str, request: ChatRequest) -> AIMessage:
        """The policy's reply.

        Raises:
            Refused: the policy cannot answer, the limit of calls is reached, or the run has ended.
        """
        asked = asyncio.get_running_loop().create_task(self._asked(role, request), context=self._context)
        self._busy()
        self._under_way.add(asked)
        try:
            return await asked
        except asyncio.CancelledError:
            if self._closed and not _hung_up():
                raise ended() from None
            raise
        except ContextLengthExceeded as error:
            raise Refused(str(error), code=CONTEXT_LENGTH) from error
        except CallLimitReached as error:
            raise Refused(str(error), code=TOO_MANY_CALLS) from error
        except ConfigError as error:
            raise Refused(str(error)) from error
        except Exception as error:
            if not self.failure.done():
                self.failure.set_result(error)
            raise Refused("The policy cannot answer.", status=503, code="unavailable") from error
        finally:
            asked.cancel()  # without effect on one that has ended
            self._under_way.discard(asked)
            self._idle_since = time.perf_counter()

    async def _asked(self, role: str, request: ChatRequest) -> AIMessage:
        chat = in_role(self.policy.as_role(role), role)
        bound = dict(request.settings)
        if request.tools:  # same tools, same object: schemas are cached by identity
            bound["tools"] = self._tools.setdefault(json.dumps(request.tools), request.tools)
        messages = [self._recalled(message) for message in request.messages]
        reply = await chat.ainvoke(messages, {"callbacks": [self.record]}, **bound)
        self._replies |= dict.fromkeys(_marks(reply), reply.additional_kwargs[CAPTURED])
        return reply

    def _recalled(self, message: BaseMessage) -> BaseMessage:
        """A reply that comes back, with the record that HTTP cannot carry: an edited one counts as rewritten."""
        if not isinstance(message, AIMessage):
            return message
        record = next((self._replies[mark] for mark in _marks(message) if mark in self._replies), None)
        return message if record is None else message.model_copy(update={"additional_kwargs": {CAPTURED: record}})

    def _busy(self) -> None:
        """Notes the time since the last call as the agent's own."""
        if not self._under_way:
            self._context.run(note_span, "tools", "agent", self._idle_since)

    @property
    def closed(self) -> bool:
        """Whether its run has ended."""
        return self._closed

    def close(self) -> None:
        """Invalidates the key and cancels open calls."""
        self._busy()
        self._closed = True
        for asked in self._under_way:
            asked.cancel()


def _marks(reply: AIMessage) -> list[str]:
    """By what a reply is found again: the ids of its calls, and its words."""
    words = str(reply.text).split()
    return [str(call["id"]) for call in reply.tool_calls] + ([" ".join(words)] if words else [])


def ended() -> Refused:
    """The refusal of a rollout that has ended or does not exist."""
    return Refused("This rollout has ended or does not exist.", status=410, code="rollout_ended")


def _hung_up() -> bool:
    """Whether the client has disconnected, which cancels the request."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
