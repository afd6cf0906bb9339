"""A chat model for any OpenAI-compatible server (vLLM, Ollama, llama.cpp, LM Studio, ...).

It exists beside LangChain's `ChatOpenAI` for two reasons: that one drops the token ids that vLLM returns, which
training needs, and costs 2.5 ms of CPU a call. This one turns messages into one JSON body, and the reply into one
`AIMessage`; every keyword of a call that it does not know goes into the body as it is.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from operator import itemgetter
from typing import Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage, ToolMessage, convert_to_openai_messages
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr

from graph.errors import ModelRejected, ModelUnavailable, RequestRefused, UnknownModel
from graph.models.connections import run_sync
from graph.models.progress import note_reading
from graph.models.replies import StreamedReply, message_of
from graph.models.server import Endpoint, list_models, post_json, post_stream

log = logging.getLogger(__name__)

_ABOUT_FORMAT = re.compile(r"response_format|json_schema|json schema|grammar", re.IGNORECASE)
_ROLES = {"system": "system", "human": "user", "ai": "assistant", "tool": "tool"}


class OpenAICompatibleChat(BaseChatModel):
    """A model behind `POST {base_url}/chat/completions`.

    The reply carries `usage_metadata`, `response_metadata` (`finish_reason`, `model_name`, `timings` of llama.cpp) and,
    where the server sent them, `additional_kwargs["tokens"]`: `prompt_token_ids` and `token_ids` (vLLM, with
    `return_token_ids=True`) and `logprobs` (one entry a completion token, with `logprobs=True`).

    Errors are those of `graph.models.server`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    provider: ClassVar[str] = "openai-compatible"
    """What traces call the provider."""
    needs_checks: ClassVar[bool] = False
    """Whether `Context(checks="auto")` holds the model's replies to the checks for small models (`graph.checks`)."""

    model: str
    """Name by which the server knows the model; empty for the only one it offers."""
    base_url: str
    """Address that ends where `/chat/completions` begins, e.g. `http://localhost:8000/v1`."""
    api_key: SecretStr | None = None
    temperature: float | None = None
    """Sent when set; else the server's default holds."""
    max_tokens: int | None = None
    """Most tokens of a reply; sent when set."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds one attempt may take."""
    max_retries: int = Field(default=2, ge=0)
    """Further attempts after a lost connection, a 429 or a 5xx."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Fields added to every request; those of a call win."""

    _without_format: bool = PrivateAttr(default=False)
    """Set once the server has said that it does not know `response_format`."""
    _found_model: str = PrivateAttr(default="")
    """The only model of the server, once it has been asked."""

    @property
    def _llm_type(self) -> str:
        return self.provider

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "base_url": self.base_url,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self.provider
        return params

    async def _endpoint(self) -> Endpoint:
        """Where to send a request; models whose server is found or started on first use override this."""
        return Endpoint(self.base_url.rstrip("/"), self.api_key, self.timeout, self.max_retries)

    async def _model_name(self, endpoint: Endpoint) -> str:
        if not (self.model or self._found_model):
            names = await list_models(endpoint)
            if len(names) != 1:
                offered = f"{len(names)} models ({', '.join(names[:10])})" if names else "no model"
                raise ModelRejected(
                    f"The server at {endpoint.shown} offers {offered}; name one as MODEL@{endpoint.shown}."
                )
            self._found_model = names[0]
        return self.model or self._found_model

    async def check(self) -> None:
        """Raise what a first call would raise if the server is away, refuses the key or does not list the model."""
        endpoint = await self._endpoint()
        try:
            names = await list_models(endpoint)
        except UnknownModel:
            log.debug("The server at %s has no list of models; the first call will show.", endpoint.shown)
            return
        model = await self._model_name(endpoint)
        # Ollama lists `name:latest` for what it answers to as `name`.
        if names and model not in names and f"{model}:latest" not in names:
            raise UnknownModel(
                f"The model server at {endpoint.shown} does not know {model!r}; it offers: {', '.join(names[:10])}."
            )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return run_sync(self._agenerate(messages, stop, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        endpoint = await self._endpoint()
        body = self._body(await self._model_name(endpoint), messages, stop, kwargs)
        try:
            reply = await post_json(endpoint, "/chat/completions", body)
        except RequestRefused as error:
            if not self._drop_format(body, error):
                raise
            reply = await post_json(endpoint, "/chat/completions", body)
        if (message := message_of(reply, tools_asked="tools" in body)) is None:
            raise ModelUnavailable(
                f"{endpoint.named} sent a reply without a message; is it an OpenAI-compatible server?"
            )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        chunks = self._astream(messages, stop, **kwargs)

        async def following() -> ChatGenerationChunk | None:
            return await anext(chunks, None)

        try:
            while (chunk := run_sync(following())) is not None:
                yield chunk
        finally:
            run_sync(chunks.aclose())

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        endpoint = await self._endpoint()
        body = self._body(await self._model_name(endpoint), messages, stop, kwargs)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        try:
            async for chunk in self._chunks(endpoint, body):
                yield chunk
        except RequestRefused as error:
            # A refusal is a status, so it comes before the first chunk and nothing is said twice.
            if not self._drop_format(body, error):
                raise
            async for chunk in self._chunks(endpoint, body):
                yield chunk

    async def _chunks(self, endpoint: Endpoint, body: dict[str, Any]) -> AsyncGenerator[ChatGenerationChunk, None]:
        reply = StreamedReply(tools_asked="tools" in body)
        async with aclosing(post_stream(endpoint, "/chat/completions", body)) as events:
            async for event in events:
                note_reading(event)
                if (chunk := reply.chunk(event)) is not None:
                    yield ChatGenerationChunk(message=chunk)
        yield ChatGenerationChunk(message=reply.last_chunk())

    def _body(
        self, model: str, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """The request: what the model was made with, then what the call says; None means "do not send"."""
        fields = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": stop,
            **self.extra_body,
            **kwargs,
        }
        fields |= fields.pop("extra_body", None) or {}
        fields.pop("stream", None)
        if self._without_format:
            fields.pop("response_format", None)
        body = {"model": model, "messages": [_message(message) for message in messages]}
        return body | {name: value for name, value in fields.items() if value is not None}

    def _drop_format(self, body: dict[str, Any], error: RequestRefused) -> bool:
        """Take `response_format` out of a refused body; False when that was not what the server minded.

        A server that does not know the field is not asked again; one that only minds this schema is.
        """
        if "response_format" not in body or not _ABOUT_FORMAT.search(error.detail):
            return False
        del body["response_format"]
        self._without_format = "response_format" in error.detail
        log.warning("The reply will not be held to its JSON schema. %s", error)
        return True

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """A runnable whose output is an object of `schema` (a pydantic class; else a dict).

        Args:
            schema: A pydantic class, a TypedDict class or a JSON schema.
            include_raw: Return `{"raw", "parsed", "parsing_error"}` instead and raise no parsing error.
            kwargs: Fields of the request.
        """
        json_schema = convert_to_json_schema(schema)
        name = str(json_schema.get("title", "reply"))
        bound = self.bind(
            response_format={
                "type": "json_schema",
                "json_schema": {"name": name, "schema": json_schema, "strict": True},
            },
            **kwargs,
        )
        parser: Runnable[Any, Any] = JsonOutputParser()
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            parser = PydanticOutputParser(pydantic_object=schema)
        if not include_raw:
            return bound | parser
        parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        unparsed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=bound) | parsed.with_fallbacks([unparsed], exception_key="parsing_error")


def _message(message: BaseMessage) -> dict[str, Any]:
    """A message as the chat API wants it; anything but plain text goes through LangChain's own conversion."""
    role = _ROLES.get(message.type)
    if role is None or not isinstance(message.content, str) or getattr(message, "tool_calls", None):
        known = message.model_copy(update={"content": _known_blocks(message.content)})
        converted = convert_to_openai_messages(known)
        if not isinstance(converted, dict):
            raise TypeError("one message was given, so one must come back")
        return converted
    if isinstance(message, ToolMessage):
        return {"role": role, "content": message.content, "tool_call_id": message.tool_call_id}
    return {"role": role, "content": message.content}


def _known_blocks(content: str | list[Any]) -> str | list[Any]:
    """Content whose videos are in the form that servers take and LangChain's conversion does not know."""
    if isinstance(content, str):
        return content
    blocks = []
    for part in content:
        if isinstance(part, dict) and part.get("type") == "video" and (part.get("url") or part.get("base64")):
            mime = part.get("mime_type") or "video/mp4"
            url = part.get("url") or f"data:{mime};base64,{part['base64']}"
            part = {"type": "video_url", "video_url": {"url": url}}
        blocks.append(part)
    return blocks
