"""A chat model for any OpenAI-compatible server (vLLM, Ollama, llama.cpp, LM Studio, ...).

It exists because LangChain's `ChatOpenAI` drops vLLM's token ids, which training needs, and costs 2.5 ms of CPU per
call. This class turns messages into a JSON body and the reply into an `AIMessage`; unknown keyword arguments of a
call go into the body unchanged.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from operator import itemgetter
from typing import Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, BaseCallbackManager, CallbackManagerForLLMRun
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage, convert_to_openai_messages
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.utils import LC_ID_PREFIX
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr

from graph.errors import ModelRejected, ModelUnavailable, RequestRefused, UnknownModel
from graph.models.connections import run_sync
from graph.models.progress import note_reading
from graph.models.replies import StreamedReply, message_of
from graph.models.server import Endpoint, list_models, post_json, post_stream

log = logging.getLogger(__name__)

_FORMS = {"response_format", "grammar"}
"""Fields of a request that say what form the reply has."""
_ABOUT_FORMAT = re.compile(r"response_format|json_schema|json schema|grammar", re.IGNORECASE)
_ROLES = {"system": "system", "human": "user", "ai": "assistant", "tool": "tool"}


class OpenAICompatibleChat(BaseChatModel):
    """A model behind `POST {base_url}/chat/completions`.

    Replies have `usage_metadata`, `response_metadata` (`finish_reason`, `model_name`, llama.cpp's `timings`) and, if
    the server sends them, `additional_kwargs["tokens"]`: `prompt_token_ids` and `token_ids` (vLLM, with
    `return_token_ids=True`) and `logprobs` (one entry per completion token, with `logprobs=True`).

    Raises the errors of `graph.models.server`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    provider: ClassVar[str] = "openai-compatible"
    """Name of the provider in traces."""
    is_small: ClassVar[bool] = False
    """Whether the defaults of `Context` treat this model as a small one: its replies are checked (`graph.checks`), and
    it is asked for less."""

    model: str
    """The server's name of the model; empty if it has only one."""
    base_url: str
    """Base address, without `/chat/completions`, e.g. `http://localhost:8000/v1`."""
    api_key: SecretStr | None = None
    temperature: float | None = None
    """Default: the server's."""
    max_tokens: int | None = None
    """Maximum tokens of a reply; default: the server's."""
    timeout: float = Field(default=120.0, gt=0)
    """Time limit of one attempt in seconds."""
    max_retries: int = Field(default=2, ge=0)
    """Further attempts after a lost connection, a 429 or a 5xx."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Fields added to every request; those of a call take precedence."""

    _without_format: bool = PrivateAttr(default=False)
    """Set once the server has rejected `response_format`."""
    _found_model: str = PrivateAttr(default="")
    """The server's only model, once it has been asked."""

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
        """The endpoint of requests; overridden by models whose server is started on first use."""
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
        """Fail now, as the first call would, if the server is down, refuses the key or does not list the model."""
        endpoint = await self._endpoint()
        try:
            names = await list_models(endpoint)
        except UnknownModel:
            log.debug("The server at %s has no list of models; the first call will show.", endpoint.shown)
            return
        model = await self._model_name(endpoint)
        # Ollama lists `name:latest`, but also accepts `name`.
        if names and model not in names and f"{model}:latest" not in names:
            raise UnknownModel(
                f"The model server at {endpoint.shown} does not know {model!r}; it offers: {', '.join(names[:10])}."
            )

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Ask; without the bookkeeping of callbacks, half of the CPU time of a call, where nobody listens."""
        if not (isinstance(input, list) and self._unheard(config) and all(map(_is_plain, input))):
            return await super().ainvoke(input, config, stop=stop, **kwargs)
        reply = await self._reply(input, stop, **kwargs)
        reply.id = f"{LC_ID_PREFIX}-{uuid.uuid4()}"
        return reply

    def _unheard(self, config: RunnableConfig | None) -> bool:
        """Whether a call has no callbacks (tracers and streams are some), no cache and no rate limiter."""
        manager = config.get("callbacks") if config else None
        return (
            isinstance(manager, BaseCallbackManager)
            and not (manager.handlers or manager.inheritable_handlers or self.callbacks or self.verbose)
            and not (self.cache or self.rate_limiter or get_llm_cache())
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
        return ChatResult(generations=[ChatGeneration(message=await self._reply(messages, stop, **kwargs))])

    async def _reply(self, messages: list[BaseMessage], stop: list[str] | None = None, **kwargs: Any) -> AIMessage:
        """Ask once, without streaming."""
        endpoint = await self._endpoint()
        body = await self._request(endpoint, messages, stop, kwargs)
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
        return message

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
        body = await self._request(endpoint, messages, stop, kwargs)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        try:
            async for chunk in self._chunks(endpoint, body):
                yield chunk
        except RequestRefused as error:
            # A refusal arrives as a status, before the first chunk, so nothing is sent twice.
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

    async def _request(
        self, endpoint: Endpoint, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """The request body: the model's settings, overridden by the call's; None means not to send a field."""
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
        model = await self._model_name(endpoint)
        body = {"model": model, "messages": [_message(message) for message in messages]}
        return body | {name: value for name, value in fields.items() if value is not None}

    def _drop_format(self, body: dict[str, Any], error: RequestRefused) -> bool:
        """Remove `response_format`, or a grammar in its place, from a refused body; False if it was not the reason.

        A server that does not support the field never gets it again; one that only dislikes this schema does.
        """
        named = _FORMS & body.keys()
        if not named or not _ABOUT_FORMAT.search(error.detail):
            return False
        for field in named:
            del body[field]
        self._without_format = "response_format" in error.detail
        log.warning("The reply will not be held to its JSON schema. %s", error)
        return True

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """A runnable that returns an instance of `schema` if it is a pydantic class, else a dict.

        Args:
            schema: A pydantic class, a TypedDict class or a JSON schema.
            include_raw: Return `{"raw", "parsed", "parsing_error"}` instead of raising parsing errors.
            kwargs: Additional fields of the request.
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


def _is_plain(message: object) -> bool:
    """Whether LangChain leaves a message as it is."""
    return isinstance(message, BaseMessage) and isinstance(message.content, str)


def _message(message: BaseMessage) -> dict[str, Any]:
    """A message for the chat API; anything but plain text is converted by LangChain."""
    role = _ROLES.get(message.type)
    calls = isinstance(message, AIMessage) and message.tool_calls
    if role is None or not isinstance(message.content, str) or calls:
        supported = message.model_copy(update={"content": _known_blocks(message.content)})
        converted = convert_to_openai_messages(supported)
        if not isinstance(converted, dict):
            raise TypeError("a single message must be converted into a single message")
        return converted
    if isinstance(message, ToolMessage):
        return {"role": role, "content": message.content, "tool_call_id": message.tool_call_id}
    return {"role": role, "content": message.content}


def _known_blocks(content: str | list[Any]) -> str | list[Any]:
    """Content with videos in the servers' format, which LangChain does not convert."""
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
