"""The trained model as a chat model that the graph can use: it records what it was given and what it drew.

One is made for each run and bound to it. Nothing is traced, matched by position or tokenized again: each reply carries
its own record (`additional_kwargs["captured"]`), the graph's state keeps it, and hands it back with the history, so
that the next prompt extends the very tokens of the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import ConfigDict, Field, SkipValidation

from graph.errors import ConfigError
from graph.models.connections import run_sync
from training.engines.base import Engine, Sampling
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.records import PlannerTurn, seed_from

CAPTURED = "captured"
"""Key of a reply's record in its `additional_kwargs`."""


class PolicyChat(BaseChatModel):
    """The policy in one run. Its sampling is fixed when it is made: what a caller binds to it has no effect."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    engine: Annotated[Engine, SkipValidation]
    chat: ChatTokens
    sampling: Sampling
    run: str
    """Id of the rollout."""
    seed: int
    """Of the rollout; each turn has its own, made from it and from the prompt."""
    seconds_left: Callable[[], float] = lambda: math.inf
    """What the run has before it should end, beside its own time budget; agents that can look at it."""
    turns: list[PlannerTurn] = Field(default_factory=list)
    """All that was drawn, in order."""

    @property
    def _llm_type(self) -> str:
        return "policy"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return run_sync(self._agenerate(messages))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Samples the next reply.

        Raises:
            ConfigError: the history holds a reply that was not captured.
            ModelUnavailable: the engine is gone.
            ContextLengthExceeded: the transcript leaves no room for a reply.
        """
        prompt = self._prompt(messages)
        seed = seed_from(self.seed, "turn", *prompt)
        drawn = await self.engine.generate(prompt, self.sampling, seed=seed, run=self.run)
        turn = PlannerTurn(
            run=self.run,
            prompt_ids=tuple(prompt),
            completion_ids=drawn.token_ids,
            logprobs=drawn.logprobs,
            policy_version=drawn.policy_version,
            temperature=self.sampling.temperature,
            finish_reason=drawn.finish_reason,
        )
        self.turns.append(turn)
        sizes = len(prompt), len(drawn.token_ids)
        reply = AIMessage(
            self.chat.text(drawn.token_ids),
            additional_kwargs={CAPTURED: turn.as_dict()},
            response_metadata={"finish_reason": drawn.finish_reason, "policy_version": drawn.policy_version},
            usage_metadata=UsageMetadata(input_tokens=sizes[0], output_tokens=sizes[1], total_tokens=sum(sizes)),
        )
        return ChatResult(generations=[ChatGeneration(message=reply)])

    def _prompt(self, messages: Sequence[BaseMessage]) -> list[int]:
        replies = [place for place, message in enumerate(messages) if isinstance(message, AIMessage)]
        if not replies:
            return self.chat.opening([_plain(message) for message in messages])
        last = replies[-1]
        captured = messages[last].additional_kwargs.get(CAPTURED)
        news = messages[last + 1 :]
        if captured is None or len(news) != 1 or not isinstance(news[0], HumanMessage):
            raise ConfigError(
                f"Rollout {self.run}: the trained model is asked with a history that it did not write (its last reply "
                "must carry its record and be followed by one message); train a role whose prompts are transcripts, "
                "such as the planner."
            )
        told = str(news[0].text)
        return self.chat.extended(captured["prompt_ids"], captured["completion_ids"], told)


def _plain(message: BaseMessage) -> tuple[str, str]:
    role = {SystemMessage: "system", HumanMessage: "user"}.get(type(message))
    if role is None:
        raise ConfigError(f"The trained model cannot read a message of type {message.type}.")
    return role, str(message.text)
