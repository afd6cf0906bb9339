"""What samples from the policy: one protocol, in-process `transformers` and a vLLM server behind it.

Token ids go in and come out; no engine ever sees a text. Sampling is plain: the temperature given, top-p 1, no top-k,
no penalties, no constraint. Anything else would draw from another distribution than the one that is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from graph.errors import ContextLengthExceeded

BASE = "base"
"""In place of a model spec: the policy's base model, from the policy's own server. Also the name it has there."""

FinishReason = Literal["stop", "length"]
"""`length`: the reply was cut off."""

Score = Callable[[Sequence[int], Sequence[int], float, str], Sequence[float]]
"""The trainer's log-probabilities of a completion: from prompt, completion, temperature and role."""


@dataclass(frozen=True)
class Sampling:
    """How a completion is drawn."""

    temperature: float = 1.0
    """0 takes the likeliest token and serves evaluation alone: its log-probabilities are those at temperature 1."""
    max_tokens: int = 512
    role: str = ""
    """Who draws it: a policy with an adapter for each role samples with that role's."""


@dataclass(frozen=True)
class Completion:
    """What was sampled, and from which policy."""

    token_ids: tuple[int, ...]
    """The end-of-turn token included where it was sampled."""
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    policy_version: int
    waited: float = field(default=0.0, compare=False)
    """Seconds before its sampling began: for a wave, for new weights."""


class Engine(Protocol):
    """Samples completions from the newest policy it was given."""

    @property
    def version(self) -> int:
        """The policy's version: 0 before the first update; -1 while the engine has not been given the policy."""

    @property
    def max_context(self) -> int:
        """Most tokens of prompt and completion together."""

    def admit(self) -> AbstractAsyncContextManager[None]:
        """Held by each run while it may still ask: in deterministic mode a wave waits until all admitted runs ask."""

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, *, seed: int, run: str) -> Completion:
        """One completion of a prompt.

        Args:
            prompt_ids: the whole prompt.
            sampling: temperature and length.
            seed: of this completion alone.
            run: the rollout that asks; its earlier prompts and completions may still be cached.

        Raises:
            ModelUnavailable: the engine is gone, overloaded, or answered with nonsense.
            ContextLengthExceeded: the prompt leaves no room for a reply.
        """

    async def sync(self, version: int) -> None:
        """Sample from the trainer's current weights from now on; turns in flight end under the old version first.

        Raises:
            ModelUnavailable: the engine is gone or refused the weights.
        """

    async def make_room(self) -> None:
        """Nothing is asked until the next `sync`: give the accelerator's memory to the update, where that is needed."""

    async def recover(self) -> None:
        """Called before a run is tried again that failed with its surroundings: mend what is the engine's to mend.

        Raises:
            ModelUnavailable: it cannot be mended.
        """

    async def figures(self) -> dict[str, float]:
        """What it has done since it was last asked: `prompt_tokens`, `sampled_tokens`, and what else it knows."""

    async def aclose(self) -> None:
        """Free what the engine holds."""


def room_for(prompt_ids: Sequence[int], max_context: int) -> int:
    """The most tokens that a reply to a prompt may have.

    Raises:
        ContextLengthExceeded: there is no room for a reply.
    """
    room = max_context - len(prompt_ids)
    if room < 1:
        raise ContextLengthExceeded(
            f"The transcript has {len(prompt_ids)} tokens and the model's context {max_context}: nothing is left for "
            "a reply. Raise max_context, or lower max_turns or max_result_chars."
        )
    return room
