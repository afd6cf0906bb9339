"""The loss: small pure functions over the flat terms of a micro-batch.

An objective gives one value per trained token, to be maximised. The loss of a micro-batch is the plain sum of
weight * (beta * KL - value). The weights are fixed before packing, so the losses of micro-batches, accumulation steps
and ranks simply add up.

Three policies are involved. The *sampler* drew the tokens. The *old* policy is the trainer's before the first update of
the step; it differs from the sampler by kernels and precision, and by updates if rollouts are stale. The *current*
policy is being trained. The ratio of current to old is clipped; the ratio of old to sampler is a truncated importance
weight (TIS: Yao et al., 2025). Without truncation, the clipped ratio is that of current to sampler, as in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from graph.errors import ConfigError
from training.algo.settings import ObjectiveSettings


@dataclass(frozen=True)
class TermTensors:
    """The M terms of a micro-batch; every tensor has shape (M,), all but `logprobs` without gradient."""

    logprobs: Tensor
    """Under the current policy, differentiable."""
    sampler_logprobs: Tensor
    """Under the policy that sampled the token."""
    advantages: Tensor
    weights: Tensor
    turn_of: Tensor
    """The planner turn of the token, 0..S-1 within the micro-batch."""
    old_logprobs: Tensor | None = None
    """Under the policy before the step's first update; None in that update, where old equals current."""
    ref_logprobs: Tensor | None = None
    """Under the reference policy; required if beta is not 0."""


@dataclass(frozen=True)
class LossParts:
    """The loss of a micro-batch, and its statistics."""

    loss: Tensor
    """Scalar, differentiable; adds up over micro-batches."""
    sums: dict[str, Tensor]
    """Sums over terms, and `terms`, the number of terms; they add up over micro-batches. They stay on the device: to
    read them here would let a GPU wait for the backward pass."""
    largest_gap: Tensor
    """Largest |old - sampler| in nats."""


def ppo(log_ratio: Tensor, terms: TermTensors, low: float, high: float) -> Tensor:
    """min(r A, clip(r) A) for each token: PPO with a higher upper clip (AgentFlow, equation 5; DAPO's clip-higher)."""
    ratio = log_ratio.exp()
    return torch.minimum(ratio * terms.advantages, ratio.clamp(1 - low, 1 + high) * terms.advantages)


def gspo(log_ratio: Tensor, terms: TermTensors, low: float, high: float) -> Tensor:
    """PPO's clip on the ratio of a whole planner turn, taken to 1 / its length: GSPO (arXiv 2507.18071, equation 7)."""
    none = torch.zeros_like(log_ratio)  # there are no more turns than tokens
    sums = none.index_add(0, terms.turn_of, log_ratio)
    lengths = none.index_add(0, terms.turn_of, torch.ones_like(log_ratio)).clamp(min=1)
    return ppo((sums / lengths)[terms.turn_of], terms, low, high)


def cispo(log_ratio: Tensor, terms: TermTensors, low: float, high: float) -> Tensor:
    """Truncated importance weight, then plain REINFORCE: CISPO (arXiv 2506.13585, equation 4).

    Every token keeps its gradient; `low` is not used.
    """
    weight = log_ratio.exp().clamp(max=1 + high).detach()
    return weight * terms.advantages * terms.logprobs


OBJECTIVES: Mapping[str, Callable[[Tensor, TermTensors, float, float], Tensor]] = {
    "ppo": ppo,
    "gspo": gspo,
    "cispo": cispo,
}


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """KL(current || reference) at each token by the k3 estimator: never negative, unbiased (AgentFlow, section 3.2)."""
    difference = ref_logprobs - logprobs
    return difference.exp() - difference - 1


def policy_loss(terms: TermTensors, settings: ObjectiveSettings) -> LossParts:
    """The loss of one micro-batch.

    Raises:
        ConfigError: beta is not 0, but there are no reference log-probabilities.
    """
    if settings.beta and terms.ref_logprobs is None:
        raise ConfigError("beta is not 0, but the reference log-probabilities are missing.")
    detached = terms.logprobs.detach()
    trainer_old = detached if terms.old_logprobs is None else terms.old_logprobs
    gap = trainer_old - terms.sampler_logprobs
    old = terms.sampler_logprobs if settings.tis_cap is None else trainer_old
    low, high = settings.clips
    log_ratio = terms.logprobs - old
    value = OBJECTIVES[settings.objective](log_ratio, terms, low, high)
    if settings.tis_cap is not None:
        value = value * gap.exp().clamp(max=settings.tis_cap)
    cost = -value
    measured: dict[str, Tensor] = {}
    if settings.beta and terms.ref_logprobs is not None:
        divergence = k3(terms.logprobs, terms.ref_logprobs)
        cost = cost + settings.beta * divergence
        measured["kl"] = divergence.detach()
    loss = (terms.weights * cost).sum()
    with torch.no_grad():
        ratio, importance = log_ratio.exp(), gap.exp()
        measured |= {
            "ratio": ratio,
            "clipped_low": (ratio < 1 - low) & (terms.advantages < 0),
            "clipped_high": (ratio > 1 + high) & (terms.advantages > 0),
            "logprob_gap": gap.abs(),
            "importance_truncated": importance > (settings.tis_cap or torch.inf),
        }
        counted = terms.weights != 0  # blank batches, which even out ranks, have weight 0
        zero = torch.zeros((), dtype=torch.float64, device=gap.device)
        sums = {name: torch.where(counted, values.double(), zero).sum() for name, values in measured.items()}
        sums["terms"] = counted.double().sum()
        largest_gap = torch.cat([zero[None], torch.where(counted, gap.abs().double(), zero)]).max()
    return LossParts(loss, sums, largest_gap)
