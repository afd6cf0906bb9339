"""Checks that a vLLM server is fit to sample for training.

The trainer divides logits by the temperature, so the returned log-probabilities must be of that distribution. vLLM's
default is the raw one (`--logprobs-mode raw_logprobs`), and replies do not say which it is. But halving the temperature
doubles the difference of two tokens' log-probabilities in the one case and leaves it unchanged in the other. Defaults
from the model's generation settings show in a request without sampling parameters. Another model shows when the trainer
scores what the server sampled.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import fmean

from graph.errors import ConfigError
from training.engines.base import Sampling, Score
from training.engines.vllm.server import Drawn, Served, VllmServer


@dataclass(frozen=True)
class Probe:
    """What servers are checked with before the first turn."""

    model: str
    """The setting `model`."""
    prompt: Sequence[int]
    """Any short prompt."""
    temperature: float
    """Sampling temperature of the training."""
    score: Score


LARGEST_GAP = 0.2
"""Largest mean difference between server and trainer in nats per token. bfloat16 on both sides causes a few hundredths;
another model, or other weights of the same one, more than half a nat."""

_LIKELIEST = 5
_DRAWN = 24
_NOISE = 0.05
"""Largest mean change of log-probabilities between two equal requests, in nats. One of them alone may change by an
eighth: logits are bfloat16, and a GPU adds up an adapter's sums in any order."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


async def check_sampling(server: VllmServer, model: str, prompt: Sequence[int]) -> None:
    """Checks that log-probabilities are of the sampling distribution, and that the server has no sampling defaults.

    Args:
        server: to check.
        model: one of its models.
        prompt: any prompt, as token ids.

    Raises:
        ConfigError: the check failed; the message says how to start the server.
        ModelUnavailable: it does not answer.
    """
    explicit = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    # First, so that the two others, which are compared value by value, both find the prompt in the cache.
    halved = await server.likeliest(model, prompt, _LIKELIEST, temperature=0.5, **explicit)
    plain = await server.likeliest(model, prompt, _LIKELIEST, temperature=1.0, **explicit)
    if not _of_halved_temperature(plain, halved):
        raise ConfigError(
            f"The log-probabilities of the vLLM server at {server.shown} are not of the distribution it samples from; "
            "start it with --logprobs-mode processed_logprobs."
        )
    unset = await server.likeliest(model, prompt, _LIKELIEST)
    surely_shown = list(_top(plain).items())[:3]  # rounding may change the last ones
    if fmean(abs(unset.get(token, -math.inf) - value) for token, value in surely_shown) > _NOISE:
        raise ConfigError(
            f"The vLLM server at {server.shown} applies the sampling defaults of its model's generation settings; "
            "start it with --generation-config vllm."
        )


async def draw_sample(server: VllmServer, model: str, probe: Probe, end_ids: frozenset[int]) -> Drawn:
    """A completion for `check_agreement`."""
    return await server.complete(model, probe.prompt, Sampling(probe.temperature, _DRAWN), seed=1, end_ids=end_ids)


def check_agreement(server: VllmServer, drawn: Drawn, probe: Probe, role: str = "") -> float:
    """Server and trainer hold the same policy of a role.

    Returns:
        Their mean difference in nats per token.

    Raises:
        ConfigError: they differ by more than `LARGEST_GAP`.
    """
    own = probe.score(probe.prompt, drawn.token_ids, probe.temperature, role)
    gap = fmean(abs(a - b) for a, b in zip(own, drawn.logprobs, strict=True))
    if not gap <= LARGEST_GAP:
        raise ConfigError(
            f"The vLLM server at {server.shown} and the trainer differ by {gap:.2f} nats per token (rounding "
            f"explains at most {LARGEST_GAP}): serve the model that `model` names, unquantised."
        )
    return gap


def same_weights(before: Drawn, after: Drawn) -> bool:
    """Whether two replies to one request of fixed seed come from the same weights.

    They need not be equal: a GPU adds up an adapter's sums in any order, and where two tokens are about as likely one
    reply may go on with the one and the other with the other. Up to there, log-probabilities differ by rounding alone.
    """
    pairs = zip(before.token_ids, after.token_ids, strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    gaps = [abs(a - b) for a, b in zip(before.logprobs[:common], after.logprobs[:common], strict=True)]
    return bool(gaps) and fmean(gaps) <= LARGEST_GAP


def check_name(server: VllmServer, served: Served, model: str) -> None:
    """Checks that both sides name the same model of the Hub; `check_agreement` covers folders.

    Raises:
        ConfigError: the names differ.
    """
    both = (served.root, model)
    if all(_HUB_NAME.fullmatch(name) for name in both) and served.root.casefold() != model.casefold():
        raise ConfigError(f"The vLLM server at {server.shown} serves {served.root}, but {model} is trained.")


def _of_halved_temperature(plain: Mapping[str, float], halved: Mapping[str, float]) -> bool:
    if sum(math.exp(min(value, 1.0)) for value in plain.values()) > 1 + _NOISE:
        return False  # logits, not log-probabilities
    first, *others = _top(plain)
    common = [token for token in others if token in halved]
    if first not in halved or not common:
        return False
    before = [plain[token] - plain[first] for token in common]
    after = [halved[token] - halved[first] for token in common]
    raw = sum(abs(b - a) for a, b in zip(before, after, strict=True))
    processed = sum(abs(b - 2 * a) for a, b in zip(before, after, strict=True))
    return processed < raw or raw + processed < _NOISE


def _top(logprobs: Mapping[str, float]) -> dict[str, float]:
    """The most likely tokens in order; the sampled token, which is always returned, only if it is one of them."""
    return dict(sorted(logprobs.items(), key=lambda item: -item[1])[:_LIKELIEST])
