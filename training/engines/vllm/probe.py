"""What a vLLM server must be like before it may sample for training, asked of the server itself.

The trainer divides logits by the temperature, so the log-probabilities that come back must be of that distribution.
vLLM's default is the raw one (`--logprobs-mode raw_logprobs`), and nothing in a reply says which it is: but halving the
temperature doubles the distance between two tokens' log-probabilities in the one and leaves it alone in the other.
Defaults from the model's generation settings show when a request names no sampling. Another model shows when the
trainer scores what the server drew.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from graph.errors import ConfigError
from training.engines.base import Sampling, Score
from training.engines.vllm.server import Drawn, Served, VllmServer


@dataclass(frozen=True)
class Probe:
    """What servers are examined with before the first turn."""

    model: str
    """The policy's name as the trainer was given it."""
    prompt: Sequence[int]
    """Any short prompt."""
    temperature: float
    """Of the training's sampling."""
    score: Score


LARGEST_GAP = 0.2
"""Nats a token between server and trainer, on average. bfloat16 on both sides costs a few hundredths; another model, or
another state of the same one, costs more than half a nat."""

_LIKELIEST = 5
_DRAWN = 24
_NOISE = 0.05
"""By how many nats a log-probability may change between two equal requests (batches round differently)."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


async def check_sampling(server: VllmServer, model: str, prompt: Sequence[int]) -> None:
    """The server's log-probabilities are of the distribution it draws from, and it adds no defaults of its own.

    Args:
        server: what is asked.
        model: a name that it serves.
        prompt: any prompt, as token ids.

    Raises:
        ConfigError: they are not; the message says how to start the server.
        ModelUnavailable: it does not answer.
    """
    explicit = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    plain = await server.likeliest(model, prompt, _LIKELIEST, temperature=1.0, **explicit)
    halved = await server.likeliest(model, prompt, _LIKELIEST, temperature=0.5, **explicit)
    if not _of_halved_temperature(plain, halved):
        raise ConfigError(
            f"The log-probabilities of the vLLM server at {server.shown} are not of the distribution it samples from; "
            "start it with --logprobs-mode processed_logprobs."
        )
    unset = await server.likeliest(model, prompt, _LIKELIEST)
    surely_shown = list(_top(plain).items())[:3]  # rounding may change which tokens come last
    if any(abs(unset.get(token, -math.inf) - value) > _NOISE for token, value in surely_shown):
        raise ConfigError(
            f"The vLLM server at {server.shown} applies the sampling defaults of its model's generation settings; "
            "start it with --generation-config vllm."
        )


async def draw_sample(server: VllmServer, model: str, probe: Probe, end_ids: frozenset[int]) -> Drawn:
    """A completion for the trainer to score in `check_agreement`."""
    return await server.complete(model, probe.prompt, Sampling(probe.temperature, _DRAWN), seed=1, end_ids=end_ids)


def check_agreement(server: VllmServer, drawn: Drawn, probe: Probe, role: str = "") -> float:
    """Server and trainer hold the same policy of a role.

    Returns:
        Their mean distance in nats a token.

    Raises:
        ConfigError: they differ by more than `LARGEST_GAP`.
    """
    own = probe.score(probe.prompt, drawn.token_ids, probe.temperature, role)
    gap = fmean(abs(a - b) for a, b in zip(own, drawn.logprobs, strict=True))
    if not gap <= LARGEST_GAP:
        raise ConfigError(
            f"The vLLM server at {server.shown} and the trainer disagree by {gap:.2f} nats a token (at most "
            f"{LARGEST_GAP} is rounding): serve the model that `model` names, unquantised."
        )
    return gap


def check_name(server: VllmServer, served: Served, model: str) -> None:
    """Where both sides name a model of the Hub, it is the same one; folders are left to `check_agreement`.

    Raises:
        ConfigError: it is another.
    """
    both = (served.root, model)
    if all(_HUB_NAME.fullmatch(name) for name in both) and served.root.casefold() != model.casefold():
        raise ConfigError(f"The vLLM server at {server.shown} serves {served.root}, but {model} is trained.")


def _of_halved_temperature(plain: Mapping[str, float], halved: Mapping[str, float]) -> bool:
    if sum(math.exp(min(value, 1.0)) for value in plain.values()) > 1 + _NOISE:
        return False  # logits, not log-probabilities
    first, *others = _top(plain)
    known = [token for token in others if token in halved]
    if first not in halved or not known:
        return False
    before = [plain[token] - plain[first] for token in known]
    after = [halved[token] - halved[first] for token in known]
    raw = sum(abs(b - a) for a, b in zip(before, after, strict=True))
    processed = sum(abs(b - 2 * a) for a, b in zip(before, after, strict=True))
    return processed < raw or raw + processed < _NOISE


def _top(found: Mapping[str, float]) -> dict[str, float]:
    """The likeliest tokens, likeliest first; the drawn one, which always comes along, only if it is one of them."""
    return dict(sorted(found.items(), key=lambda item: -item[1])[:_LIKELIEST])
