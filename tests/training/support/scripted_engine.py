"""An engine whose policy is a function from a transcript's text to a reply: for tests of all but sampling."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from graph.errors import ContextLengthExceeded, ModelUnavailable
from tests.training.support.templates import template_tokenizer
from tests.training.support.tiny_model import tiny_tokenizer
from training.engines.base import Completion, Sampling
from training.rollouts.chat_tokens import ChatTokens


class ScriptedEngine:
    """Answers each prompt with `reply(text of the prompt, seed)`; an empty optional means that the server is gone.

    Args:
        reply: the policy.
        template: name of a well-known chat template; the tiny model's own knows no tools.
    """

    max_context = 10_000

    def __init__(self, reply: Callable[[str, int], str | None], template: str | None = None) -> None:
        self._reply = reply
        self._tokenizer = template_tokenizer(template) if template else tiny_tokenizer()
        self.sent: list[tuple[list[int], int]] = []
        """Every prompt with its seed, in the order in which they came."""
        self.chat = ChatTokens(self._tokenizer)
        self.version = 0

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        yield

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, *, seed: int, run: str) -> Completion:
        if len(prompt_ids) >= self.max_context:
            raise ContextLengthExceeded(f"A prompt of {len(prompt_ids)} tokens leaves no room for a reply.")
        self.sent.append((list(prompt_ids), seed))
        text = self._reply(str(self._tokenizer.decode(list(prompt_ids))), seed)
        if text is None:
            raise ModelUnavailable("The policy's server is gone.")
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        drawn = (*ids, self.chat.end_of_turn)[: sampling.max_tokens]
        reason = "stop" if drawn[-1] == self.chat.end_of_turn else "length"
        return Completion(drawn, tuple(-0.1 for _ in drawn), reason, self.version)

    async def sync(self, version: int) -> None:
        self.version = version

    async def figures(self) -> dict[str, float]:
        return {}

    async def make_room(self) -> None:
        """Nothing to give."""

    async def recover(self) -> None:
        """Nothing to mend."""

    async def aclose(self) -> None:
        pass
