"""Replies whose tokens all went into thinking: one more attempt with more room, and a clear error after that."""

from __future__ import annotations

import logging
from typing import Any, Final

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage

from graph.parsing import without_thinking

log = logging.getLogger(__name__)

MORE_ROOM: Final = 4
"""Factor by which the limit is raised."""

_LIMITS = ("max_tokens", "max_output_tokens", "num_predict")
"""Names of the token limit in providers' classes."""
_REASONS = ("finish_reason", "stop_reason", "done_reason")
_CUT_OFF = ("length", "max_tokens", "model_length", "max_output_tokens")


def silence(reply: AIMessage) -> str | None:
    """A complaint about a reply that was cut off before it said anything; None for any other reply."""
    metadata = reply.response_metadata
    if not any(str(metadata.get(reason, "")).lower() in _CUT_OFF for reason in _REASONS):
        return None
    if without_thinking(str(reply.text)):
        return None
    count = reply.usage_metadata["output_tokens"] if reply.usage_metadata else 0
    tokens = f"all {count:,} tokens" if count else "all tokens"
    return f"{tokens} of the reply went into thinking and nothing was said; allow longer replies (max_tokens)"


def with_more_room(model: BaseChatModel, reply: AIMessage) -> BaseChatModel | None:
    """The model with a higher limit, if its reply was silent and its limit is known; else None.

    A model whose tokens are captured is the policy in training: its limit is part of the task.
    """
    if "captured" in reply.additional_kwargs or silence(reply) is None:
        return None
    name = next((name for name in _LIMITS if name in type(model).model_fields), None)
    if name is None:
        return None
    limit: Any = getattr(model, name) or (reply.usage_metadata["output_tokens"] if reply.usage_metadata else 0)
    if not isinstance(limit, int) or limit <= 0:
        return None
    log.info("The model spent %d tokens on thinking; it is asked once more with %d.", limit, MORE_ROOM * limit)
    return model.model_copy(update={name: MORE_ROOM * limit})
