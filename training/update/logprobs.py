"""Log-probabilities of the trained tokens of packed or padded micro-batches.

Policy and reference are both scored here. The model is called as a whole, so that DDP, FSDP, accelerate and PEFT
wrappers see an ordinary forward pass. Inside, the hidden states at positions that predict a trained token are gathered
*before* the language-model head, and the head runs over them in chunks. So logits exist for one chunk at a time,
whatever the size of the vocabulary: for a frozen head, one vector per position is saved for the backward pass; a
trained head is recomputed there.

    refusal = attach_scoring(model)               # once, before the trainer wraps the model
    for batch in pad(rows, budget) if refusal else pack(rows, budget):
        scores = forward_terms(model, batch, temperature)
        loss = (weights * objective(scores.logprobs, ...)).sum()

Usage under DDP: it averages gradients over ranks, so the plain sum needs the loss times the number of ranks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel

from graph.errors import ConfigError
from training.models.adapters import play
from training.models.prefix_tree import PREFIX_TREE
from training.update.attention import Forest
from training.update.packable import packing_refusal
from training.update.packing import MicroBatch
from training.update.rows import IntArray

CHUNK_LOGITS = 2**24
"""Logits that exist at one time (64 MiB in float32; about three times as much in the backward pass)."""


class TermScores(NamedTuple):
    """Scores of the M terms of a micro-batch, both float32 of shape (M,)."""

    logprobs: Tensor
    """Log-probability of the trained token at the sampling temperature, differentiable."""
    entropies: Tensor
    """Entropy in nats of the token's distribution, without gradient; zeros if not requested."""


@dataclass(frozen=True, eq=False)
class _Query:
    """The terms to score, on the model's device; fields as in `MicroBatch`."""

    head_index: Tensor
    term_source: Tensor
    sources: IntArray
    """The same on the host."""
    term_target: Tensor
    temperature: float
    entropies: bool


def attach_scoring(model: nn.Module, device: torch.device | None = None) -> str | None:
    """Prepares a causal language model, PEFT-wrapped or not, for `forward_terms`. Call it before the trainer wraps it.

    The model's `forward` learns one more keyword argument and is otherwise unchanged; where packing is possible its
    attention implementation becomes `PREFIX_TREE`, which without a packed batch is plain SDPA.

    Args:
        model: the model.
        device: where it will be; None: where it is.

    Returns:
        None if packed batches can be scored, else the sentence that says why not (`packing_refusal`).

    Raises:
        ConfigError: the model has no separate head, scales its logits in a way that is not known here, or learns
            virtual prompt tokens, which take up positions that no row has.
    """
    if any(getattr(peft, "is_prompt_learning", False) for peft in getattr(model, "peft_config", {}).values()):
        raise ConfigError("Prompt-learning adapters put virtual tokens before every row; train with LoRA or in full.")
    unwrap: Callable[[], nn.Module] = getattr(model, "get_base_model", lambda: model)
    causal = unwrap()
    if not isinstance(causal, PreTrainedModel) or _head(causal) is None:
        raise ConfigError(
            f"{type(causal).__name__} is no causal language model of transformers with a head of its own."
        )
    _refuse_scaled_logits(causal.config)
    causal.forward = MethodType(_scoring_forward(type(causal)), causal)
    refusal = packing_refusal(causal.config, (device or next(causal.parameters()).device).type)
    if refusal is None:
        causal.set_attn_implementation(PREFIX_TREE)
    return refusal


def forward_terms(
    model: nn.Module, batch: MicroBatch, temperature: float = 1.0, *, entropies: bool = True
) -> TermScores:
    """Scores every term of a micro-batch, packed or padded, in the order of `batch.terms`, as the batch's role.

    Args:
        model: a model that `attach_scoring` has prepared, wrapped or not.
        batch: packed only if `attach_scoring` returned no refusal.
        temperature: of the sampling; logits are divided by it.
        entropies: whether to compute them too, which costs a pass over the logits.

    Raises:
        ConfigError: the temperature is not positive, the model has not been prepared, or cannot play the role.
    """
    if temperature <= 0:
        raise ConfigError(f"Log-probabilities need a sampling temperature above 0, got {temperature}.")
    play(model, batch.role)
    device = next(model.parameters()).device
    query = _Query(
        head_index=torch.as_tensor(batch.head_index, device=device),
        term_source=torch.as_tensor(batch.term_source, device=device),
        sources=batch.term_source,
        term_target=torch.as_tensor(batch.term_target, device=device),
        temperature=temperature,
        entropies=entropies,
    )
    inputs: dict[str, Any] = {
        "input_ids": torch.as_tensor(batch.input_ids, device=device),
        "position_ids": torch.as_tensor(batch.position_ids, device=device),
        "use_cache": False,
        "scoring": query,
    }
    if batch.segments is None:
        inputs["attention_mask"] = torch.as_tensor(batch.attention_mask, device=device)
    else:
        inputs["forest"] = Forest.of(batch.segments)
        inputs["attention_mask"] = inputs["forest"].attention_mask(device, _dtype(model))
    scores = model(**inputs)
    if not isinstance(scores, TermScores):
        raise ConfigError(
            f"{type(model).__name__} cannot score terms yet: call attach_scoring(model) before wrapping it."
        )
    return scores


@torch.no_grad()
def completion_logprobs(
    model: nn.Module, prompt: Sequence[int], completion: Sequence[int], temperature: float, role: str = ""
) -> list[float]:
    """Log-probabilities of one completion's tokens by an ordinary forward pass.

    Args:
        model: a causal language model, wrapped or not; with sharded weights every process must call it.
        prompt, completion: token ids.
        temperature: of the sampling, above 0; logits are divided by it.
        role: who sampled it.
    """
    play(model, role)
    training = model.training
    model.eval()
    ids = torch.tensor([[*prompt, *completion]], device=next(model.parameters()).device)
    try:
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
    finally:
        model.train(training)
    chosen = (logits / temperature).log_softmax(-1).gather(1, ids[0, len(prompt) :, None])
    return chosen[:, 0].tolist()  # type: ignore[no-any-return]


def _scoring_forward(model_class: type[nn.Module]) -> Callable[..., Any]:
    """The class's forward with a `scoring` argument.

    It keeps the signature, which `generate` and trainers inspect; it is bound as a method, which copies with the model.
    """
    plain = model_class.forward

    @functools.wraps(plain)
    def forward(self: PreTrainedModel, *args: Any, scoring: _Query | None = None, **kwargs: Any) -> Any:
        if scoring is None:
            return plain(self, *args, **kwargs)
        inputs = {name: value for name, value in kwargs.items() if value is not None}  # PEFT adds labels=None etc.
        hidden = self.base_model(*args, **inputs).last_hidden_state
        gathered = hidden.flatten(0, 1).index_select(0, scoring.head_index)
        return _score(_head(self), gathered, scoring, self.config.vocab_size)

    return forward


def _dtype(model: nn.Module) -> torch.dtype:
    """The type that the model computes in: that of its own weights, not of an adapter's."""
    return next((p.dtype for p in model.parameters() if not p.requires_grad), next(model.parameters()).dtype)


def _head(causal: PreTrainedModel) -> nn.Module:
    head: nn.Module = causal.get_output_embeddings()  # type: ignore[no-untyped-call]
    return head


def _score(head: nn.Module, hidden: Tensor, query: _Query, vocabulary: int) -> TermScores:
    """Runs the head over hidden states (U, D) in chunks and reads off each term's log-probability and entropy."""
    rows = max(1, CHUNK_LOGITS // vocabulary)
    frozen = type(head) is nn.Linear and not any(parameter.requires_grad for parameter in head.parameters())
    logprobs, entropies = [], []
    # A batch without terms has one empty chunk: it still takes part in the backward pass, or its rank would miss the
    # exchange of gradients.
    for hidden_chunk, source, target in _chunks(hidden, query, rows):
        arguments = (head, hidden_chunk, source, target, query)
        if not torch.is_grad_enabled():
            chunk_logprobs, chunk_entropies = _score_chunk(*arguments)
        elif frozen:
            chunk_logprobs, chunk_entropies = _FrozenHead.apply(*arguments)  # type: ignore[no-untyped-call]
        else:
            chunk_logprobs, chunk_entropies = checkpoint(_score_chunk, *arguments, use_reentrant=False)
        logprobs.append(chunk_logprobs)
        entropies.append(chunk_entropies)
    return TermScores(torch.cat(logprobs), torch.cat(entropies))


def _chunks(hidden: Tensor, query: _Query, rows: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Hidden states of so many positions at a time, with the places in them and the targets of their terms.

    Terms are sorted by source, so each chunk of positions owns one run of them.
    """
    starts = range(0, max(1, len(hidden)), rows)
    bounds = [*np.searchsorted(query.sources, starts).tolist(), len(query.sources)]
    for chunk, start in enumerate(starts):
        terms = slice(bounds[chunk], bounds[chunk + 1])
        yield hidden[start : start + rows], query.term_source[terms] - start, query.term_target[terms]


class _FrozenHead(torch.autograd.Function):
    """`_score_chunk` of a head without gradient, whose logits need not be computed again.

    The gradient of one log-probability with respect to its hidden state is the target's row of the head less the mean
    of all rows under the distribution. Both are at hand in the forward pass, and the backward pass only weighs them.
    """

    @staticmethod
    def forward(
        ctx: Any, head: nn.Linear, hidden: Tensor, source: Tensor, target: Tensor, query: _Query
    ) -> tuple[Tensor, Tensor]:
        logits = head(hidden)
        with _exact(hidden):
            log_softmax = _log_softmax(logits, query.temperature)
            logprobs = _of_terms(log_softmax, source, target)
            chances = log_softmax.exp()
            entropies = torch.zeros_like(logprobs)
            if query.entropies:
                entropies = -torch.linalg.vecdot(chances, log_softmax).index_select(0, source)
            mean_row = chances.to(head.weight.dtype) @ head.weight
        ctx.save_for_backward(mean_row, head.weight.index_select(0, target), source)
        ctx.temperature, ctx.dtype = query.temperature, hidden.dtype
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[None, Tensor, None, None, None]:
        mean_row, target_rows, source = ctx.saved_tensors
        grad = grad / ctx.temperature
        at_source = grad.new_zeros(len(mean_row)).index_add_(0, source, grad)
        d_hidden = -at_source[:, None] * mean_row
        d_hidden.index_add_(0, source, grad[:, None] * target_rows)
        return None, d_hidden.to(ctx.dtype), None, None, None


def _exact(hidden: Tensor) -> torch.autocast:
    """What stands behind the head is computed in the types it has, whatever autocast would choose."""
    return torch.autocast(hidden.device.type, enabled=False)


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of the whole vocabulary in float32, (U, V)."""
    logits = logits.float()
    if temperature != 1.0:
        logits = logits / temperature
    log_softmax: Tensor = logits.log_softmax(-1)
    return log_softmax


def _of_terms(log_softmax: Tensor, source: Tensor, target: Tensor) -> Tensor:
    return log_softmax.flatten().gather(0, source * log_softmax.shape[1] + target)


def _score_chunk(
    head: nn.Module, hidden: Tensor, source: Tensor, target: Tensor, query: _Query
) -> tuple[Tensor, Tensor]:
    logits = head(hidden)
    with _exact(hidden):
        log_softmax = _log_softmax(logits, query.temperature)
        logprobs = _of_terms(log_softmax, source, target)
        # Last, so that recomputing for the backward pass stops before it.
        with torch.no_grad():
            if not query.entropies:
                return logprobs, torch.zeros_like(logprobs)
            negative = torch.linalg.vecdot(log_softmax.exp(), log_softmax)
            return logprobs, -negative.index_select(0, source)


def _refuse_scaled_logits(config: PreTrainedConfig) -> None:
    neutral = {"final_logit_softcapping": None, "logits_scaling": 1, "logit_scale": 1}
    for name, value in neutral.items():
        if getattr(config, name, value) != value:
            raise ConfigError(
                f"{config.model_type} models change their logits behind the head ({name} is {getattr(config, name)}), "
                "so log-probabilities would be of another distribution; choose a model that does not."
            )
