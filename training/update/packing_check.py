"""The first-use check of packing: one micro-batch, computed packed and unpacked, must agree.

Packing is right for any model whose tokens depend on their own path only. `packing_refusal` knows the architectures
for which that fails by their configuration; this check finds what no configuration says (custom code, an adapter that
looks across tokens, a kernel that is wrong on this machine). A trainer runs it once, and on disagreement trains
unpacked and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from graph.errors import DataError
from training.models.precision import in_model_precision
from training.update.logprobs import forward_terms
from training.update.packing import MicroBatch, pack, pad
from training.update.rows import Row

TOLERANCE = 1e-4
"""Relative error allowed in float32."""

HALF_TOLERANCE = 0.1
"""Relative error allowed in bfloat16 and float16, where reordering sums alone changes gradients by some percent in
deep models; a token that sees what it should not changes them by tens of percent."""

_TEMPERATURE = 8.0
"""Of the check, whatever sampling's is. Which tokens see which does not depend on it, and a policy that is sure of its
replies has log-probabilities and gradients near zero, of which rounding in bfloat16 is a large part: 22 % once, and
0.2 % at this temperature."""


@dataclass(frozen=True)
class PackingCheck:
    """How far packed and unpacked disagree, as norms of the difference over norms of the unpacked quantity."""

    logprob_error: float
    gradient_error: float
    tolerance: float
    sharing: float
    """Tokens of the checked rows over the tokens that were computed; 1 means that nothing was shared."""

    @property
    def ok(self) -> bool:
        """Whether both errors are within the tolerance; not-a-number is not."""
        return self.logprob_error <= self.tolerance and self.gradient_error <= self.tolerance

    @property
    def reason(self) -> str | None:
        """Why the run must fall back to unpacked training, in one sentence; None when it need not."""
        if self.ok:
            return None
        return (
            f"Packed and unpacked training disagree on this model (relative error {self.logprob_error:.2g} in "
            f"log-probabilities, {self.gradient_error:.2g} in gradients, {self.tolerance:.2g} allowed); "
            "rows are trained unpacked."
        )


def verify_packing(model: nn.Module, rows: Sequence[Row], budget: int) -> PackingCheck:
    """Compares log-probabilities and gradients of one micro-batch, packed against padded.

    The rows are those of the micro-batch that shares most, as many as fit the budget unpacked. The loss is the mean
    log-probability, so that the check means something when all advantages are zero. Dropout is off meanwhile, gradients
    held by the parameters are kept, and nothing is updated. With several processes all must call it with the same rows.

    Args:
        model: prepared by `attach_scoring`, which returned no refusal; wrapped or not.
        rows: the rows of a step.
        budget: tokens per micro-batch, as in training.

    Raises:
        DataError: no row carries a loss term.
    """
    trained = [row for row in rows if len(row.terms)]
    if not trained:
        raise DataError("Packing cannot be checked: none of the rows carries a loss term.")
    packed = max(pack(trained, budget), key=lambda batch: batch.raw_tokens / batch.tokens)
    chosen = _fitting([trained[index] for index in sorted(set(packed.term_row.tolist()))], budget)
    widest = max(budget, *(len(row) for row in chosen))
    batches = pack(chosen, widest)
    with _without_dropout(model), _gradients_kept(model), in_model_precision(model):
        logprobs, gradients = _measure(model, batches)
        plain_logprobs, plain_gradients = _measure(model, pad(chosen, widest))
    half = {parameter.dtype for parameter in model.parameters()} & {torch.bfloat16, torch.float16}
    return PackingCheck(
        logprob_error=_relative_error([logprobs], [plain_logprobs]),
        gradient_error=_relative_error(gradients, plain_gradients),
        tolerance=HALF_TOLERANCE if half or torch.is_autocast_enabled() else TOLERANCE,
        sharing=sum(batch.raw_tokens for batch in batches) / sum(batch.tokens for batch in batches),
    )


def _fitting(rows: Sequence[Row], budget: int) -> list[Row]:
    """The first rows within the token budget, at least two; all rows could take minutes on a CPU."""
    ends = accumulate(len(row) for row in rows)
    return [row for place, (row, end) in enumerate(zip(rows, ends, strict=True)) if place < 2 or end <= budget]


def _measure(model: nn.Module, batches: list[MicroBatch]) -> tuple[Tensor, list[Tensor]]:
    """Log-probabilities in order of (row, position), and the trainable parameters' gradients."""
    model.zero_grad(set_to_none=True)
    count = sum(len(batch.terms) for batch in batches)
    scored = []
    for batch in batches:
        logprobs = forward_terms(model, batch, _TEMPERATURE, entropies=False).logprobs
        (logprobs.sum() / count).backward()  # type: ignore[no-untyped-call]
        keys = zip(batch.term_row.tolist(), batch.terms.positions.tolist(), strict=True)
        scored += list(zip(keys, logprobs.detach().tolist(), strict=True))
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return torch.tensor([logprob for _, logprob in sorted(scored)]), gradients


def _relative_error(values: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    if len(values) != len(reference):
        return float("inf")  # a parameter that one path trains and the other does not
    difference = sum(float((a - b).float().norm()) ** 2 for a, b in zip(values, reference, strict=True))
    size = sum(float(b.float().norm()) ** 2 for b in reference)
    return float((difference / size) ** 0.5) if size else float(difference > 0)


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    active = [module for module in model.modules() if isinstance(module, nn.Dropout) and module.training]
    for module in active:
        module.eval()
    try:
        yield
    finally:
        for module in active:
            module.train()


@contextmanager
def _gradients_kept(model: nn.Module) -> Iterator[None]:
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
