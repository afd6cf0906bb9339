"""The gradient of a step's micro-batches.

The loss of a step is a plain sum over terms, so micro-batches and ranks add up without scaling, except that
data-parallel wrappers average gradients over ranks, which the factor `ranks` undoes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from training.algo.objectives import TermTensors, policy_loss
from training.algo.settings import ObjectiveSettings
from training.models.precision import in_model_precision
from training.update.logprobs import forward_terms
from training.update.packing import MicroBatch
from training.update.rows import FloatArray, IntArray

Scorer = Callable[[MicroBatch], Tensor]
"""Log-probabilities (M,) of a micro-batch's terms under a frozen policy."""


@dataclass
class UpdateSums:
    """What an update adds up over micro-batches and ranks, of all roles or of one."""

    loss: float = 0.0
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Sums over terms by name, and `terms`, the number of terms."""
    largest_gap: float = 0.0

    def add(self, loss: float, sums: Mapping[str, float], largest_gap: float) -> None:
        """Add those of a micro-batch, or of another process."""
        self.loss += loss
        for name, value in sums.items():
            self.sums[name] += value
        self.largest_gap = max(self.largest_gap, largest_gap)

    def means(self) -> dict[str, float]:
        """Means over terms by name."""
        terms = max(1.0, self.sums["terms"])
        return {name: total / terms for name, total in self.sums.items() if name != "terms"}


def together(parts: Iterable[UpdateSums]) -> UpdateSums:
    """The sums of several roles or processes."""
    total = UpdateSums()
    for part in parts:
        total.add(part.loss, part.sums, part.largest_gap)
    return total


@dataclass(frozen=True)
class Update:
    """Computes the gradient of micro-batches.

    Args:
        model: the policy, as wrapped by the trainer.
        settings: the objective.
        temperature: of the sampling.
        reference: scores under the reference policy; required if beta is not 0.
    """

    model: nn.Module
    settings: ObjectiveSettings
    temperature: float
    reference: Scorer | None = None

    def scores(self, batch: MicroBatch) -> Tensor:
        """Log-probabilities (M,) under the current policy, without gradient."""
        with torch.no_grad(), in_model_precision(self.model):
            return forward_terms(self.model, batch, self.temperature, entropies=False).logprobs

    def accumulate(
        self,
        batches: Sequence[MicroBatch],
        backward: Callable[[Tensor], None],
        *,
        old: Sequence[Tensor] | None = None,
        ranks: int = 1,
        sync: Callable[[bool], AbstractContextManager[object]],
    ) -> dict[str, UpdateSums]:
        """Adds the gradient of all micro-batches to the parameters, each to those of its role's adapter.

        Args:
            batches: this rank's share of the step, role by role.
            backward: runs the backward pass of a scaled loss.
            old: log-probabilities before the step's first update, one tensor per batch; None in the first update.
            ranks: number of processes that average their gradients.
            sync: makes a context for each pass; its argument says whether gradients are exchanged after it.

        Returns:
            This rank's sums by role.
        """
        figures: list[tuple[tuple[str, ...], Tensor]] = []  # read at the end: a GPU need not wait meanwhile
        with in_model_precision(self.model):
            for number, batch in enumerate(batches):
                with sync(number == len(batches) - 1):
                    known = self._known(batch)  # first: a GPU would wait for what comes from the host meanwhile
                    scores = forward_terms(self.model, batch, self.temperature)
                    terms = known(logprobs=scores.logprobs, old_logprobs=old[number] if old else None)
                    parts = policy_loss(terms, self.settings)
                    backward(parts.loss * ranks)
                entropy = torch.where(terms.weights != 0, scores.entropies.double(), 0.0).sum()
                names, values = zip(*parts.sums.items(), ("entropy", entropy), strict=True)
                told = (parts.loss.detach(), parts.largest_gap, *values)
                figures.append((names, torch.stack([value.double() for value in told])))
        sums: dict[str, UpdateSums] = defaultdict(UpdateSums)
        for batch, (names, figure) in zip(batches, figures, strict=True):
            loss, largest_gap, *numbers = figure.tolist()
            sums[batch.role].add(loss, dict(zip(names, numbers, strict=True)), largest_gap)
        return dict(sums)

    def _known(self, batch: MicroBatch) -> Callable[..., TermTensors]:
        """Takes what the forward pass gives, and adds what is known of the terms before it."""
        device, stamps = next(self.model.parameters()).device, batch.terms

        def tensor(values: FloatArray) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        return partial(
            TermTensors,
            sampler_logprobs=tensor(stamps.sampler_logprobs),
            advantages=tensor(stamps.advantages),
            weights=tensor(stamps.weights),
            turn_of=torch.tensor(turn_numbers(batch), device=device),
            ref_logprobs=self.reference(batch) if self.settings.beta and self.reference else None,
        )


def accumulate_likelihood(
    model: nn.Module,
    batches: Sequence[MicroBatch],
    backward: Callable[[Tensor], None],
    *,
    sync: Callable[[bool], AbstractContextManager[object]],
) -> float:
    """Adds the gradient of the terms' weighted negative log-likelihood (supervised fine-tuning) to the parameters.

    Args:
        model: the policy, as wrapped by the trainer.
        batches: this rank's share of the update.
        backward, sync: see `Update.accumulate`.

    Returns:
        The loss, this rank's sum.
    """
    losses = []
    with in_model_precision(model):
        for number, batch in enumerate(batches):
            with sync(number == len(batches) - 1):
                logprobs = forward_terms(model, batch, entropies=False).logprobs
                weights = torch.tensor(batch.terms.weights, dtype=torch.float32, device=logprobs.device)
                loss = -(weights * logprobs).sum()
                backward(loss)
            losses.append(loss.detach().double())
    return sum(float(loss) for loss in losses)


def turn_numbers(batch: MicroBatch) -> IntArray:
    """The planner turn of each term, 0..S-1 within the micro-batch, shape (M,)."""
    keys = np.stack([batch.term_row, batch.terms.turns])
    return np.unique(keys, axis=1, return_inverse=True)[1].reshape(-1)
