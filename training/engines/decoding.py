"""Prefill and sampling of many sequences at once, continuing from cached keys and values.

A *memory* holds the keys and values of a sequence in one tensor (layers, 2, heads, tokens, head size). The sequences of
a batch differ in length. Memories are aligned on the right and new tokens on the left, so that the tokens of each
sequence stay contiguous. A mask hides the padding, and no softmax is ever empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from graph.errors import ModelError

_ROOM = 64
"""Number of tokens by which the buffer of a batch grows."""

_COMPACT = 0.75
"""A batch drops finished rows when at most this share is still running."""


@dataclass(eq=False)
class Draft:
    """A completion in progress."""

    seed: int
    temperature: float
    max_tokens: int
    memory: Tensor
    """Memory of the prompt."""
    logits: Tensor
    """Logits of the first token, (vocabulary,)."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: bool = False
    """Whether an end token was sampled; otherwise the reply reached its limit."""


def causal_model(model: nn.Module) -> PreTrainedModel:
    """The language model inside a PEFT wrapper; its adapters stay active, since they are part of its layers."""
    unwrap: Callable[[], nn.Module] = getattr(model, "get_base_model", lambda: model)
    causal = unwrap()
    assert isinstance(causal, PreTrainedModel)
    return causal


def empty_memory(model: PreTrainedModel) -> Tensor:
    """The memory of a sequence without tokens."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return torch.empty(config.num_hidden_layers, 2, heads, 0, size, dtype=model.dtype, device=model.device)


@torch.no_grad()
def prefill(
    model: PreTrainedModel, parts: Sequence[tuple[Tensor, Sequence[int]]], budget: int
) -> list[tuple[Tensor, Tensor]]:
    """Computes the new tokens of each sequence.

    Args:
        model: the language model.
        parts: memory and new token ids (at least one) of each sequence.
        budget: largest number of positions of a forward pass, including padding and memories.

    Returns:
        For each sequence its memory, and the logits of its next token in float32.
    """
    results: list[tuple[Tensor, Tensor] | None] = [None] * len(parts)
    order = sorted(range(len(parts)), key=lambda i: (len(parts[i][1]), parts[i][0].shape[3]))
    for chosen in _chunks(order, parts, budget):
        batch = _Batch([parts[i][0] for i in chosen], room=max(len(parts[i][1]) for i in chosen))
        hidden = batch.forward(model, [parts[i][1] for i in chosen])
        counts = [len(parts[i][1]) for i in chosen]
        logits = _head(model, hidden[range(len(chosen)), [count - 1 for count in counts]])
        for line, i in enumerate(chosen):
            results[i] = batch.memory(line, batch.before + counts[line]), logits[line]
    return [pair for pair in results if pair is not None]


@torch.no_grad()
def draw(
    model: PreTrainedModel, drafts: Sequence[Draft], end_ids: frozenset[int], on_done: Callable[[Draft, Tensor], None]
) -> None:
    """Samples the completions of all drafts together.

    Each draft has its own random numbers, so a completion depends on the rest of the batch only through rounding.

    Args:
        model: the language model.
        drafts: with the memories of their prompts and their first logits.
        end_ids: tokens that end a completion; they are part of it.
        on_done: called for each complete draft, with the memory of prompt and completion, except for the last token,
            which the model never reads.

    Raises:
        ModelError: the logits are not finite.
    """
    rows = list(drafts)
    if not rows:
        return
    chances = [np.random.default_rng(row.seed).random(row.max_tokens) for row in rows]
    batch = _Batch([row.memory for row in rows], room=_ROOM)
    logits = torch.stack([row.logits for row in rows])
    alive = [True] * len(rows)
    while True:
        step = [chance[min(len(row.tokens), len(chance) - 1)] for row, chance in zip(rows, chances, strict=True)]
        tokens, logprobs = _sample(logits, [row.temperature for row in rows], step)
        for line, row in enumerate(rows):
            if not alive[line]:
                continue
            row.tokens.append(tokens[line])
            row.logprobs.append(logprobs[line])
            row.ended = tokens[line] in end_ids
            if row.ended or len(row.tokens) == row.max_tokens:
                alive[line] = False
                on_done(row, batch.memory(line, batch.length))
        left = [line for line, is_alive in enumerate(alive) if is_alive]
        if not left:
            return
        if len(left) <= _COMPACT * len(rows):
            batch = batch.select(left)
            rows = [rows[line] for line in left]
            chances = [chances[line] for line in left]
            tokens = [tokens[line] for line in left]
            alive = [True] * len(rows)
        logits = _head(model, batch.forward(model, [[token] for token in tokens])[:, -1])


def _head(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert head is not None
    return head(hidden).float()  # type: ignore[no-any-return]


def _sample(logits: Tensor, temperatures: Sequence[float], chances: Sequence[float]) -> tuple[list[int], list[float]]:
    """One token per row, and its log-probability under the sampling distribution.

    Temperature 0 decodes greedily, with the log-probability at temperature 1.
    """
    scale = logits.new_tensor([temperature or 1.0 for temperature in temperatures])[:, None]
    log_softmax = (logits / scale).log_softmax(-1)
    if not bool(torch.isfinite(log_softmax.amax(-1)).all()):
        raise ModelError(
            "The policy's logits are not finite: its weights are broken; go back to an earlier checkpoint."
        )
    # Inverse transform sampling in float64: float32 sums over a vocabulary are not accurate enough.
    cumulative = log_softmax.double().exp_().cumsum(-1)
    points = torch.tensor(chances, dtype=torch.float64, device=logits.device)[:, None] * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, points, right=True).clamp_(max=logits.shape[1] - 1)
    greedy = torch.tensor([not temperature for temperature in temperatures], device=logits.device)[:, None]
    tokens = torch.where(greedy, log_softmax.argmax(-1, keepdim=True), drawn)
    return tokens[:, 0].tolist(), log_softmax.gather(1, tokens)[:, 0].tolist()


def _chunks(order: Sequence[int], parts: Sequence[tuple[Tensor, Sequence[int]]], budget: int) -> Iterator[list[int]]:
    """Splits `order` into padded batches within the budget; a sequence over the budget is a batch of its own."""
    chosen: list[int] = []
    for i in order:
        wider = [*chosen, i]
        width = max(parts[j][0].shape[3] for j in wider) + max(len(parts[j][1]) for j in wider)
        if chosen and width * len(wider) > budget:
            yield chosen
            wider = [i]
        chosen = wider
    if chosen:
        yield chosen


class _Layer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A cache layer over buffers with spare room, so that a new token copies nothing."""

    def __init__(self, keys: Tensor, values: Tensor, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._buffers = keys, values
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys: Tensor
        self.values: Tensor
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Adds tokens, and returns all keys and values."""
        start = int(self.keys.shape[2])
        end = start + int(key_states.shape[2])
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = states
        self._show(end)
        return self.keys, self.values


class _Batch:
    """The memories of several sequences in one buffer (layers, 2, rows, heads, tokens, head size)."""

    def __init__(self, memories: Sequence[Tensor], room: int) -> None:
        self.length = max(memory.shape[3] for memory in memories)
        self.before = self.length
        """Start of the tokens of the latest forward pass."""
        self.starts = [self.length - memory.shape[3] for memory in memories]
        layers, two, heads, _, size = memories[0].shape
        self._buffer = memories[0].new_zeros(layers, two, len(memories), heads, self.length + room, size)
        for line, memory in enumerate(memories):
            self._buffer[:, :, line, :, self.starts[line] : self.length] = memory
        self._cache = self._over_buffer()

    def forward(self, model: PreTrainedModel, new_ids: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states (rows, new tokens, size) of new tokens, which join the batch; shorter rows are padded."""
        count = max(map(len, new_ids))
        if self.length + count > self._buffer.shape[4]:
            self._buffer = nn.functional.pad(self._buffer, [0, 0, 0, count + _ROOM])
            self._cache = self._over_buffer()
        device = self._buffer.device
        ids = torch.tensor([[*new, *[0] * (count - len(new))] for new in new_ids], device=device)
        starts = torch.tensor(self.starts, device=device)[:, None]
        columns = torch.arange(self.length + count, device=device)[None]
        positions = columns[:, self.length :] - starts
        output = model.base_model(
            input_ids=ids,
            attention_mask=(columns >= starts).long(),
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        self.before, self.length = self.length, self.length + count
        return output.last_hidden_state  # type: ignore[no-any-return]

    def memory(self, line: int, end: int) -> Tensor:
        """A copy of the memory of a row up to the column `end`."""
        return self._buffer[:, :, line, :, self.starts[line] : end].clone()

    def select(self, lines: Sequence[int]) -> _Batch:
        """A batch of these rows only."""
        batch = object.__new__(_Batch)
        batch.starts = [self.starts[line] for line in lines]
        batch.length, batch.before = self.length, self.before
        batch._buffer = self._buffer[:, :, list(lines)]
        batch._cache = batch._over_buffer()
        return batch

    def _over_buffer(self) -> DynamicCache:
        cache = DynamicCache()
        cache.layers = [_Layer(layer[0], layer[1], self.length) for layer in self._buffer]
        return cache
