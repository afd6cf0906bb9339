"""The policy as a LangChain chat model, which agents get instead of their own model.

Tools, tool results, structured output, streaming, callbacks and both ways to call are LangChain's own; what a message
becomes in tokens, and what was sampled, is `Policy`'s matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SkipValidation

from graph.errors import ConfigError
from graph.models.senses import TEXT_ONLY
from training.engines.base import Engine, Sampling
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.conversation import NO_TOOLS, ToolSet
from training.rollouts.langchain_messages import CAPTURED, ai_message_of, conversation_of
from training.rollouts.places import place_of
from training.rollouts.policy import Call, Policy
from training.rollouts.records import PlannerTurn

__all__ = ["CAPTURED", "PolicyChat"]

Tool = Mapping[str, Any] | type | Callable[..., Any] | BaseTool


class PolicyChat(BaseChatModel):
    """The policy in one run.

    Its sampling is fixed when it is made: what a caller binds to it has no effect, but for `max_tokens`, which can make
    replies shorter.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    profile: ModelProfile | None = Field(default=TEXT_ONLY, exclude=True)
    engine: Annotated[Engine, SkipValidation]
    chat: Annotated[ChatTokens, SkipValidation]
    sampling: Sampling
    run: str
    """Id of the rollout."""
    seed: int
    """Of the rollout; see `Policy`."""
    role: str = ""
    """The role it plays in the agent."""
    plain: bool = False
    """Whether structured output is left to the prompt, as our graph does with models that cannot be held to a form."""
    model_name: str = "policy"
    cache: bool | None = False
    """A reply from LangChain's cache would be nobody's sample."""
    seconds_left: Callable[[], float] = lambda: math.inf
    """What the run has before it should end, beside its own time budget; agents that can look at it."""
    _policy: Policy = PrivateAttr()
    _tools: _ToolCache = PrivateAttr()

    def model_post_init(self, context: object, /) -> None:
        """Binds it to its run."""
        self._policy = Policy(self.engine, self.chat, self.sampling, self.run, self.seed)
        self._tools = _ToolCache()

    def as_role(self, role: str, *, plain: bool = False) -> Self:
        """The same policy in the same run, playing another role."""
        return self.model_copy(update={"role": role, "plain": plain})

    @property
    def policy(self) -> Policy:
        """The policy, which samples and records."""
        return self._policy

    @property
    def turns(self) -> list[PlannerTurn]:
        """All that was sampled in the run, by step and path."""
        return self._policy.turns

    @property
    def _llm_type(self) -> str:
        return "policy"

    def _resolve_model_profile(self) -> ModelProfile:
        room = self.engine.max_context - self.sampling.max_tokens
        return ModelProfile(max_input_tokens=room, tool_calling=True, structured_output=False)

    def bind_tools(
        self,
        tools: Sequence[Tool],
        *,
        tool_choice: str | Mapping[str, Any] | bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The policy with tools on offer.

        Args:
            tools: as LangChain's models take them.
            tool_choice: `none` reads no calls from the reply. Nothing forces a call: decoding is unconstrained, and a
                choice that the policy does not keep is its own failure.
            parallel_tool_calls: False makes the first call alone; others stay text.
            **kwargs: bound as they are, without effect on sampling.

        Raises:
            ConfigError: a tool that only its provider's servers can run.
        """
        schemas = [self._tools.schema(tool) for tool in tools]
        return self.bind(tools=schemas, tool_choice=tool_choice, parallel_tool_calls=parallel_tool_calls, **kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """An object of `schema`, asked for as the arguments of a tool; see `BaseChatModel`.

        Raises:
            NotImplementedError: the policy is `plain`.
        """
        if self.plain:
            raise NotImplementedError
        return super().with_structured_output(schema, include_raw=include_raw, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        reply = self._policy.reply_sync(conversation_of(messages), self._call(stop, run_manager, kwargs))
        return _result(ai_message_of(reply, self.model_name))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Samples the next reply.

        Raises:
            AgentFlowError: see `Policy.reply`.
        """
        reply = await self._policy.reply(conversation_of(messages), self._call(stop, run_manager, kwargs))
        return _result(ai_message_of(reply, self.model_name))

    def _call(
        self,
        stop: Sequence[str] | None,
        run_manager: AsyncCallbackManagerForLLMRun | CallbackManagerForLLMRun | None,
        bound: Mapping[str, Any],
    ) -> Call:
        return Call(
            role=self.role,
            tools=self._tools.tool_set(bound.get("tools") or ()),
            may_call=bound.get("tool_choice") != "none",
            max_tokens=bound.get("max_tokens"),
            most_calls=1 if bound.get("parallel_tool_calls") is False else None,
            stop=tuple(filter(None, [stop] if isinstance(stop, str) else stop or ())),
            place=place_of(run_manager),
        )

    def get_token_ids(self, text: str) -> list[int]:
        """The ids of a text, for agents that count tokens."""
        return self.chat.template.encode(self.chat.template.neutral(text))

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], tools: Sequence[Tool] | None = None) -> int:
        """The length of the prompt that these messages make."""
        offered = self._tools.tool_set([self._tools.schema(tool) for tool in tools or ()])
        return len(self.chat.prompt(conversation_of(messages), offered)[0])


class _ToolCache:
    """Schemas of tools by identity: agents bind the same tools before every call, and describing one is slow."""

    def __init__(self) -> None:
        self._schemas: dict[int, tuple[Tool, Mapping[str, Any]]] = {}
        self._sets: dict[tuple[int, ...], tuple[Sequence[Mapping[str, Any]], ToolSet]] = {}

    def schema(self, tool: Tool) -> Mapping[str, Any]:
        held = self._schemas.get(id(tool))
        if held is None:
            schema = convert_to_openai_tool(tool)
            if not isinstance(schema.get("function"), Mapping):
                raise ConfigError(
                    f"The tool {schema.get('type', schema)!r} runs on its provider's servers and cannot be offered to "
                    "a policy; give the agent a tool of its own."
                )
            held = self._schemas[id(tool)] = (tool, schema)  # the tool is held, so that its id stays its own
        return held[1]

    def tool_set(self, schemas: Sequence[Mapping[str, Any]]) -> ToolSet:
        if not schemas:
            return NO_TOOLS
        key = tuple(map(id, schemas))
        if key not in self._sets:
            self._sets[key] = (schemas, ToolSet(tuple(schemas)))
        return self._sets[key][1]


def _result(message: AIMessage) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=message)])
