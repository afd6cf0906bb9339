"""The embedded model: llama.cpp from a wheel, so that no key, GPU or server is needed.

The `xllamacpp` wheel starts llama.cpp's OpenAI-compatible HTTP server on a free port of the loopback interface, and
`EmbeddedChat` is an ordinary client of it. Nothing happens before the first call, which downloads the model's file
(`graph.models.download`), loads it and starts the server (`graph.models.embedded_server`).

Prompts are cached per slot: llama.cpp assigns a request to the slot with the longest common prefix, and moves evicted
prompts to host memory. A prefix shared by several roles is therefore read only once, and the static beginning of each
role's prompt only once per machine (`graph.models.prefixes`). What was read with one adapter is of no use to another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import ModelProfile
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    BaseMessageChunk,
    message_chunk_to_message,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk
from pydantic import Field

from graph.errors import ModelUnavailable
from graph.models.embedded_files import DEFAULT_MODEL
from graph.models.embedded_server import Served, has_gpu, name_adapter, served
from graph.models.grammars import grammar_of
from graph.models.loops import REPETITION, repeats
from graph.models.openai_compatible import OpenAICompatibleChat
from graph.models.prefixes import Reading
from graph.models.progress import listener
from graph.models.senses import TEXT_ONLY
from graph.models.server import Endpoint
from graph.models.server_settings import ServerSettings


@dataclass(frozen=True)
class _EmbeddedEndpoint(Endpoint):
    """A server of this process, which stays while its endpoint is in use."""

    served: Served | None = None


class EmbeddedChat(OpenAICompatibleChat):
    """A chat model served by a llama.cpp of this process; see the module's docstring.

    Raises, at the first call: ConfigError (xllamacpp or a file is missing or cannot be loaded), DataError or
    ModelUnavailable (the file cannot be fetched).
    """

    provider: ClassVar[str] = "embedded"
    is_small: ClassVar[bool] = True

    profile: ModelProfile | None = Field(default=TEXT_ONLY, exclude=True)
    model: str = DEFAULT_MODEL
    """`0.5b`, `1.5b`, `OWNER/REPO[:QUANT]` on the Hub, or the path of a GGUF file or of a folder with one."""
    adapter: str = ""
    """Path of a LoRA adapter as a GGUF file, with which this chat's replies are computed; empty: none.

    Chats of one model share a server, whatever their adapters.
    """
    base_url: str = ""
    """Not used: the server's address is only known once it runs."""
    settings: ServerSettings = Field(default_factory=ServerSettings.from_environment)

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {**super()._identifying_params, "adapter": self.adapter}

    def model_post_init(self, context: Any, /) -> None:
        """All models of a run are made before one is asked: their server then starts once, with all adapters."""
        super().model_post_init(context)
        if self.adapter:
            name_adapter(self.model, self.settings, self.adapter)

    async def _endpoint(self) -> _EmbeddedEndpoint:
        server = await served(self.model, self.settings, self.adapter)
        return _EmbeddedEndpoint(
            f"{server.root}/v1",
            timeout=self.timeout,
            max_retries=self.max_retries,
            name="The embedded model",
            if_too_long=f"set AGENTFLOW_EMBEDDED_CONTEXT to more than {self.settings.context} tokens",
            served=server,
        )

    @property
    def calls_at_once(self) -> int:
        """How many calls suit it: one on a CPU, which answers in turn, and as many as there are slots on a GPU."""
        return self.settings.slots if self.settings.gpu_layers and not self.settings.exact and has_gpu() else 1

    async def check(self) -> None:
        """Download the file and start the server now instead of at the first call."""
        await self._endpoint()

    async def _request(
        self, endpoint: Endpoint, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        body = await super()._request(endpoint, messages, stop, kwargs)
        if isinstance(endpoint, _EmbeddedEndpoint) and endpoint.served is not None:
            body |= endpoint.served.applied(self.adapter).fields
        form = body.get("response_format") or {}
        if form.get("type") == "json_schema" and "grammar" not in body:
            del body["response_format"]
            body["grammar"] = grammar_of(form["json_schema"]["schema"])
        return body

    async def _reply(self, messages: list[BaseMessage], stop: list[str] | None = None, **kwargs: Any) -> AIMessage:
        whole: BaseMessageChunk = AIMessageChunk(content="")
        async with aclosing(self._astream(messages, stop, **kwargs)) as chunks:
            async for chunk in chunks:
                whole += chunk.message
        reply = message_chunk_to_message(whole)
        assert isinstance(reply, AIMessage)
        return reply

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        server = await served(self.model, self.settings, self.adapter)
        try:
            async with aclosing(self._watched(server, messages, stop, run_manager, **kwargs)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except ModelUnavailable as error:
            if why := await asyncio.to_thread(server.process.why_ended, 0.5):
                raise ModelUnavailable(f"The embedded model is gone ({why}); the next call starts it anew.") from error
            raise

    async def _watched(
        self,
        server: Served,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: AsyncCallbackManagerForLLMRun | None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        """The chunks of a reply, which is cut off if it goes round in circles."""
        reading = await self._read_static_part(server, messages)
        if listener() is not None:
            kwargs["return_progress"] = True
        text, tokens = "", 0
        async with aclosing(super()._astream(messages, stop, run_manager, **kwargs)) as chunks:
            async for chunk in chunks:
                _note(reading, chunk.message)
                yield chunk
                text += chunk.text + chunk.message.additional_kwargs.get("reasoning_content", "")
                tokens += 1
                if tokens % _LOOKS_EVERY == 0 and repeats(text):
                    break
            else:
                return
        yield ChatGenerationChunk(message=_cut_off(tokens))

    async def _read_static_part(self, server: Served, messages: list[BaseMessage]) -> Reading:
        applied = server.applied(self.adapter)
        return Reading() if server.prefixes is None else await server.prefixes.ensure(messages, applied)


_LOOKS_EVERY = 16
"""Tokens after which a reply is looked at."""


def _cut_off(tokens: int) -> AIMessageChunk:
    """The last chunk of a reply that repeats itself; llama.cpp has not told what its prompt took."""
    usage = UsageMetadata(input_tokens=0, output_tokens=tokens, total_tokens=tokens)
    return AIMessageChunk(content="", response_metadata={"finish_reason": REPETITION}, usage_metadata=usage)


def _note(reading: Reading, message: BaseMessage) -> None:
    """Adds to llama.cpp's timings of a call what it took to read the static part before it."""
    if "timings" in message.response_metadata:
        static = {"static_n": reading.tokens, "static_ms": reading.milliseconds}
        message.response_metadata["timings"] = {**message.response_metadata["timings"], **static}
