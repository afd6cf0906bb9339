"""The protocol of sampling engines; in-process `transformers` and vLLM servers implement it.

Token ids go in and come out; engines never see text. Sampling uses the temperature only: top-p 1, no top-k, no
penalties, no constraints. Anything else would sample from another distribution than the one that is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from graph.errors import ContextLengthExceeded

BASE = "base"
"""Model spec of the policy's base model, served by the policy's own server; also its name there."""

FinishReason = Literal["stop", "length"]
"""`length`: the reply reached its token limit."""

Score = Callable[[Sequence[int], Sequence[int], float, str], Sequence[float]]
"""The trainer's log-probabilities of a completion: from prompt, completion, temperature and role."""


@dataclass(frozen=True)
class Sampling:
    """How to sample a completion."""

    temperature: float = 1.0
    """0 decodes greedily, for evaluation only; the log-probabilities are then those at temperature 1."""
    max_tokens: int = 512
    role: str = ""
    """Who draws it: a policy with an adapter for each role samples with that role's."""


@dataclass(frozen=True)
class Completion:
    """A sampled completion, and the policy version it is from."""

    token_ids: tuple[int, ...]
    """Including the end-of-turn token if it was sampled."""
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    policy_version: int
    waited: float = field(default=0.0, compare=False)
    """Seconds before its sampling began: for a wave, for new weights."""


class Engine(Protocol):
    """Samples completions from the policy."""

    @property
    def version(self) -> int:
        """The version of the policy: 0 before the first update, -1 before the first `sync`."""

    @property
    def max_context(self) -> int:
        """Largest number of tokens of prompt and completion together."""

    def admit(self) -> AbstractAsyncContextManager[None]:
        """Held by each run while it may send requests: in deterministic mode a wave waits for all admitted runs."""

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, *, seed: int, run: str) -> Completion:
        """One completion of a prompt.

        Args:
            prompt_ids: the whole prompt.
            sampling: temperature and length.
            seed: of this completion.
            run: id of the rollout; its earlier prompts and completions may be cached.

        Raises:
            ModelUnavailable: the engine is unreachable or overloaded, or its answer is invalid.
            ContextLengthExceeded: the prompt leaves no room for a reply.
        """

    async def sync(self, version: int) -> None:
        """Updates the engine to the trainer's current weights, after running requests have ended with the old ones.

        Raises:
            ModelUnavailable: the engine is unreachable, or refused the weights.
        """

    async def make_room(self) -> None:
        """Releases GPU memory for the update, if needed. There are no requests until the next `sync`."""

    async def recover(self) -> None:
        """Recovers from an infrastructure failure, before a run is retried.

        Raises:
            ModelUnavailable: recovery failed.
        """

    async def figures(self) -> dict[str, float]:
        """Figures since the last call: `prompt_tokens`, `sampled_tokens`, and others."""

    async def aclose(self) -> None:
        """Releases all resources."""


def room_for(prompt_ids: Sequence[int], max_context: int) -> int:
    """The largest number of tokens of a reply to a prompt.

    Raises:
        ContextLengthExceeded: there is no room for a reply.
    """
    room = max_context - len(prompt_ids)
    if room < 1:
        raise ContextLengthExceeded(
            f"The transcript has {len(prompt_ids)} tokens and the model's context {max_context}: there is no room "
            "for a reply. Raise max_context, or lower max_turns or max_result_chars."
        )
    return room
