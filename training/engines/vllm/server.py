"""One vLLM server over HTTP: token ids in and out, adapters by name, cache figures.

Every request has all sampling parameters, so that no default of the server or of the model's generation settings can
change the distribution; `training.engines.vllm.probe` checks that the server obeys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from graph.errors import ConfigError, ModelUnavailable, RequestRefused, UnknownModel
from graph.models.server import Endpoint, fetch_bytes, get_json, post_json
from training.engines.base import FinishReason, Sampling

_PLAIN: Mapping[str, Any] = {
    "n": 1, "top_p": 1.0, "top_k": 0, "min_p": 0.0,
    "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
}  # fmt: skip
"""Sampling from the policy's own distribution."""

_TOKENS: Mapping[str, Any] = {
    "add_special_tokens": False, "skip_special_tokens": False,
    "return_token_ids": True, "return_tokens_as_token_ids": True,
}  # fmt: skip

_CONTROL = 120.0
"""Time limit in seconds of requests that sample nothing."""

_COUNTER = re.compile(r"^vllm:prefix_cache_(queries|hits)_total(?:\{[^}]*\})? ([0-9.eE+]+)", re.MULTILINE)


class Drawn(NamedTuple):
    """A completion as the server sent it."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


class Cached(NamedTuple):
    """Tokens looked up in the prefix cache since the server started, and tokens found there."""

    queries: float
    hits: float


@dataclass(frozen=True)
class Served:
    """What a server offers."""

    base: str
    """Name of the base model."""
    root: str
    """Source of the model: a folder or a name on the Hub."""
    max_context: int
    adapters: tuple[str, ...]


@dataclass(frozen=True)
class VllmServer:
    """A server at an address that ends in `/v1`. Errors of all calls are those of `graph.models.server`."""

    endpoint: Endpoint

    @property
    def shown(self) -> str:
        """The address, for messages."""
        return self.endpoint.shown

    @property
    def control(self) -> Endpoint:
        """For requests that sample nothing, with a short time limit."""
        return replace(self.endpoint, timeout=_CONTROL)

    @property
    def root(self) -> Endpoint:
        """For vLLM's own paths, outside the OpenAI protocol."""
        return replace(self.control, base_url=self.endpoint.base_url.removesuffix("/v1"))

    async def served(self) -> Served:
        """The model and the adapters of the server."""
        reply = await get_json(self.control, "/models")
        cards = [card for card in reply.get("data") or () if isinstance(card, dict)]
        base = next((card for card in cards if not card.get("parent")), None)
        if base is None or not base.get("max_model_len"):
            raise ConfigError(
                f"The server at {self.shown} does not tell its context length, as vLLM does; is it a vLLM server?"
            )
        return Served(
            base=str(base["id"]),
            root=str(base.get("root") or base["id"]),
            max_context=int(base["max_model_len"]),
            adapters=tuple(str(card["id"]) for card in cards if card.get("parent")),
        )

    async def complete(
        self, model: str, prompt: Sequence[int], sampling: Sampling, *, seed: int, end_ids: frozenset[int]
    ) -> Drawn:
        """Samples one completion.

        Raises:
            UnknownModel: the server does not have a model of this name (any more).
            ModelUnavailable: it is unreachable, failed, or sent an invalid answer.
        """
        body = {
            "model": model, "prompt": list(prompt), "seed": seed, "logprobs": 0, "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature, "stop_token_ids": sorted(end_ids), **_PLAIN, **_TOKENS,
        }  # fmt: skip
        reply = await post_json(self.endpoint, "/completions", body)
        choice = self._choice(reply, model)
        if choice.get("prompt_token_ids", list(prompt)) != list(prompt):
            raise ConfigError(
                f"The server at {self.shown} changed the prompt; serve the model without a prompt adapter or "
                "truncation."
            )
        try:
            ids = tuple(int(token) for token in choice["token_ids"])
            logprobs = tuple(float(value) for value in choice["logprobs"]["token_logprobs"])
        except (KeyError, TypeError, ValueError):
            raise self._nonsense("no token ids with a log-probability each (is it older than vLLM 0.22?)") from None
        if len(ids) != len(logprobs) or not ids or not all(math.isfinite(value) for value in logprobs):
            raise self._nonsense(f"{len(ids)} token ids and {len(logprobs)} finite log-probabilities")
        reason = choice.get("finish_reason")
        if reason not in ("stop", "length"):
            raise self._nonsense(f"a completion that ended by {reason!r}")
        return Drawn(ids, logprobs, "stop" if reason == "stop" else "length")

    async def likeliest(self, model: str, prompt: Sequence[int], count: int, **sampling: float) -> dict[str, float]:
        """Log-probabilities of the most likely next tokens, by token.

        Args:
            model: its name.
            prompt: token ids.
            count: number of tokens.
            sampling: parameters to send; the server chooses the others.
        """
        body = {"model": model, "prompt": list(prompt), "seed": 0, "logprobs": count, "max_tokens": 1}
        reply = await post_json(self.endpoint, "/completions", {**body, **sampling, **_TOKENS})
        choice = self._choice(reply, model)
        try:
            [top] = choice["logprobs"]["top_logprobs"]
            return {str(token): float(value) for token, value in top.items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._nonsense("no likeliest tokens") from None

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Loads an adapter under a name.

        Raises:
            ConfigError: the server does not load adapters, or not this one.
        """
        try:
            await fetch_bytes(self.control, "POST", "/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        except UnknownModel as error:
            if name in str(error) or str(folder) in str(error):
                raise ConfigError(
                    f"The server at {self.shown} does not find the adapter in {folder}; the folder must be on a disk "
                    "that trainer and server share (see vllm_adapters)."
                ) from error
            raise ConfigError(
                f"The server at {self.shown} loads no adapters; start it with --enable-lora and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment."
            ) from error
        except RequestRefused as error:
            if "already been loaded" not in error.detail:  # by an earlier attempt whose reply was lost
                raise

    async def unload_adapter(self, name: str) -> None:
        """Unloads an adapter, if it is loaded."""
        try:
            await fetch_bytes(self.control, "POST", "/unload_lora_adapter", {"lora_name": name})
        except UnknownModel:
            return

    async def reset_cache(self) -> None:
        """Forgets the prefix cache (needs VLLM_SERVER_DEV_MODE, as sleeping does)."""
        await fetch_bytes(self.root, "POST", "/reset_prefix_cache")

    async def sleep(self) -> None:
        """Gives its memory of the GPU back; weights go to the machine's memory.

        Level 2, which drops them, has left LoRA servers with wrong weights. What the prefix cache holds must be
        forgotten before.
        """
        await self.reset_cache()
        await fetch_bytes(self.root, "POST", "/sleep?level=1")

    async def wake(self) -> None:
        """Takes the memory back."""
        await fetch_bytes(self.root, "POST", "/wake_up")

    async def cached(self) -> Cached:
        """The counters of the prefix cache."""
        text = (await fetch_bytes(self.root, "GET", "/metrics")).decode(errors="replace")
        sums = {"queries": 0.0, "hits": 0.0}
        for name, value in _COUNTER.findall(text):
            sums[name] += float(value)
        return Cached(**sums)

    def _choice(self, reply: Mapping[str, Any], model: str) -> Mapping[str, Any]:
        """The completion in a reply, if it is from the requested model."""
        if reply.get("model") != model:
            raise self._nonsense(f"a completion of {reply.get('model')!r} instead of {model!r}")
        choices = reply.get("choices")
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            raise self._nonsense("not the one completion that was asked for")
        return choices[0]

    def _nonsense(self, what: str) -> ModelUnavailable:
        return ModelUnavailable(f"The vLLM server at {self.shown} sent {what}; look at its log.")
