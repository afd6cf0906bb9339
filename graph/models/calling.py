"""A single call of any chat model, with structured replies and a single set of errors."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig

from graph.chat import well_formed_prompt
from graph.errors import AgentFlowError, ModelError, ModelRejected, ModelUnavailable
from graph.models.loops import with_penalty
from graph.models.openai_compatible import OpenAICompatibleChat
from graph.models.room import with_more_room
from graph.state import Usage
from tools.text import well_formed_value

log = logging.getLogger(__name__)


async def replies_of(
    model: BaseChatModel, messages: list[BaseMessage], config: RunnableConfig, schema: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[AIMessage, float]]:
    """Ask a model, and once more if it spent all tokens on thinking or repeated itself; the last reply counts.

    Args:
        model, messages, config, schema: See `call_model`.

    Yields:
        A reply, and the time of its request (a `time.perf_counter` reading); each reply has a cost.

    Raises:
        ModelError: the first call failed; see `call_model`.
    """
    began = time.perf_counter()
    reply = await call_model(model, messages, config, schema)
    yield reply, began
    changed = with_more_room(model, reply) or with_penalty(model, reply)
    if changed is None:
        return
    began = time.perf_counter()
    try:
        reply = await call_model(changed, messages, config, schema)
    except ModelRejected as error:  # such a long reply does not fit
        log.debug("The model cannot be given more room: %s", error)
        return
    yield reply, began


def cost_of(reply: AIMessage, began: float) -> Usage:
    """The cost of a reply that was requested at `began` and has just arrived."""
    tokens = reply.usage_metadata
    return Usage(
        calls=1,
        input_tokens=tokens["input_tokens"] if tokens else 0,
        output_tokens=tokens["output_tokens"] if tokens else 0,
        seconds=time.perf_counter() - began,
    )


async def call_model(
    model: BaseChatModel, messages: list[BaseMessage], config: RunnableConfig, schema: Mapping[str, Any] | None
) -> AIMessage:
    """Ask a model once.

    Args:
        model: Any LangChain chat model.
        messages: The prompt.
        config: The caller's configuration (callbacks, tags); `configurable["seed"]` seeds the sampling of
            OpenAI-compatible servers.
        schema: JSON schema (with a `title`) to which the reply is constrained, if the model supports that.

    Returns:
        The reply. With a schema, its text is JSON unless the model ignored the schema.

    Raises:
        ModelUnavailable: no connection, timeout, overload, or a server error.
        ModelRejected: the server refused the request.
    """
    try:
        if isinstance(model, OpenAICompatibleChat):
            return await model.ainvoke(messages, config, **_body(config, schema))
        prompt = well_formed_prompt(messages)  # our own models see to that themselves
        if schema is None:
            return _well_formed(await model.ainvoke(prompt, config))
        return _well_formed(await _ask_provider(model, prompt, config, well_formed_value(dict(schema))))
    except AgentFlowError:
        raise
    except Exception as error:
        model_error = as_model_error(error, str(_name_of(model)))
        if model_error is None:
            raise
        raise model_error from error


def _well_formed(reply: AIMessage) -> AIMessage:
    """A reply without invalid characters; our own models already replace them, chunk by chunk."""
    content = well_formed_value(reply.content)
    return reply if content == reply.content else reply.model_copy(update={"content": content})


def _body(config: RunnableConfig, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Fields of the request besides the prompt: the reply's schema, and the run's seed if it has one."""
    body: dict[str, Any] = {}
    seed = config.get("configurable", {}).get("seed")
    if isinstance(seed, int):
        body["seed"] = seed
    if schema is not None:
        form = {"name": schema["title"], "schema": dict(schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return body


async def _ask_provider(
    model: BaseChatModel, messages: list[BaseMessage], config: RunnableConfig, schema: Mapping[str, Any]
) -> AIMessage:
    try:
        structured = model.with_structured_output(dict(schema), include_raw=True)
    except NotImplementedError:  # the prompt asks for JSON as well
        return await model.ainvoke(messages, config)
    result = await structured.ainvoke(messages, config)
    assert isinstance(result, dict)
    raw: AIMessage = result["raw"]
    if result["parsed"] is None:
        return raw
    return AIMessage(json.dumps(result["parsed"]), usage_metadata=raw.usage_metadata)


def _name_of(model: BaseChatModel) -> object:
    return getattr(model, "model_name", None) or getattr(model, "model", None) or type(model).__name__


def as_model_error(error: Exception, name: str) -> ModelError | None:
    """Classify a provider's exception; None if it is not a server's response but a bug.

    Args:
        error: The exception.
        name: Name of the model, for the message.
    """
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    cause = " ".join(str(error).split())[:300]
    if isinstance(status, int):
        if status in (408, 409, 429) or status >= 500:
            return ModelUnavailable(f"The model {name} did not answer (status {status}): {cause}")
        hint = "check its API key" if status in (401, 403) else "check the model's name and the request"
        return ModelRejected(f"The model {name} refused the request (status {status}); {hint}: {cause}")
    connection = isinstance(error, ConnectionError | TimeoutError | httpx.TransportError)
    if connection or any(word in type(error).__name__ for word in ("Connection", "Timeout")):
        return ModelUnavailable(f"The model {name} could not be reached; check its address and the network: {cause}")
    return None
