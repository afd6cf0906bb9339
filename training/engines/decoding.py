"""Prefill and sampling of many sequences at once, continuing from cached keys and values.

A *memory* holds the keys and values of a sequence in one tensor (layers, 2, heads, tokens, head size). The sequences of
a batch differ in length. Memories are aligned on the right and new tokens on the left, so that the tokens of each
sequence stay contiguous. A mask hides the padding, and no softmax is ever empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from graph.errors import ModelError
from training.engines.graphs import StepGraphs
from training.models.prefix_tree import shares_prefixes

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
        counts = [len(parts[i][1]) for i in chosen]
        ids = [[*parts[i][1], *[0] * (max(counts) - len(parts[i][1]))] for i in chosen]
        hidden = batch.forward(model, torch.tensor(ids, device=model.device))
        logits = _head(model, hidden[range(len(chosen)), [count - 1 for count in counts]])
        for line, i in enumerate(chosen):
            results[i] = batch.memory(line, batch.before + counts[line]), logits[line]
    return [pair for pair in results if pair is not None]


@torch.no_grad()
def draw(
    model: PreTrainedModel,
    drafts: Sequence[Draft],
    end_ids: frozenset[int],
    on_done: Callable[[Draft, Tensor], None],
    shared: int = 0,
    graphs: StepGraphs | None = None,
) -> None:
    """Samples the completions of all drafts together.

    Each draft has its own random numbers, so a completion depends on the rest of the batch only through rounding.

    Args:
        model: the language model.
        drafts: with the memories of their prompts and their first logits.
        end_ids: tokens that end a completion; they are part of it.
        on_done: called for each complete draft, with the memory of prompt and completion, except for the last token,
            which the model never reads.
        shared: number of tokens that all prompts begin with. What is kept of them is read once a token instead of once
            a draft, if the model attends by `attach_scoring`'s implementation.
        graphs: recorded steps, on CUDA; models whose steps cannot be recorded do without.

    Raises:
        ModelError: the logits are not finite.
    """
    rows = list(drafts)
    if not rows:
        return
    memories, longest = [row.memory for row in rows], max(row.max_tokens for row in rows)
    shared = shared if shares_prefixes(model) else 0
    recorded = graphs.batch(model, memories, longest, shared) if graphs is not None else None
    batch = recorded or _Batch(memories, room=_ROOM, shared=shared)
    logits = torch.stack([row.logits for row in rows])
    draws = _Draws.of(rows, end_ids, logits.device)
    waiting = list(range(len(rows)))  # the rows that are not complete
    for count in range(1, longest + 1):
        finished = draws.take(logits)
        if finished:
            for line, tokens, logprobs in draws.drawn(finished):
                row = rows[line]
                row.tokens, row.logprobs, row.ended = tokens, logprobs, tokens[-1] in end_ids
                on_done(row, batch.memory(line, batch.length))
            waiting = [line for line in waiting if line not in finished]
            if not waiting:
                return
            if isinstance(batch, _Batch) and len(waiting) <= _COMPACT * len(rows):
                batch, draws = batch.select(waiting), draws.select(waiting)
                rows = [rows[line] for line in waiting]
                waiting = list(range(len(rows)))
        ids = draws.tokens[:, count - 1 : count]
        logits = _head(model, batch.forward(model, ids)[:, -1]) if isinstance(batch, _Batch) else batch.next(ids)


def _head(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert head is not None
    return head(hidden).float()  # type: ignore[no-any-return]


@dataclass(eq=False)
class _Draws:
    """The tokens sampled for R rows, on the device: a step is tensor operations and one transfer to the host."""

    scale: Tensor
    """Temperatures, 1 for greedy rows, (R, 1)."""
    greedy: Tensor
    """(R, 1)."""
    chances: Tensor
    """Each row's own random numbers in float64, (R, most tokens)."""
    limits: Tensor
    """Most tokens of each row, (R,)."""
    end_ids: Tensor
    tokens: Tensor
    """Sampled so far, (R, most tokens)."""
    logprobs: Tensor
    """Of the tokens, (R, most tokens)."""
    waiting: Tensor
    """Whether a row is incomplete, (R,)."""
    count: int = 0
    """Tokens sampled for each incomplete row."""

    @classmethod
    def of(cls, rows: Sequence[Draft], end_ids: frozenset[int], device: torch.device) -> _Draws:
        """Before the first token."""
        longest = max(row.max_tokens for row in rows)
        chances = np.zeros((len(rows), longest))
        for line, row in enumerate(rows):
            chances[line, : row.max_tokens] = np.random.default_rng(row.seed).random(row.max_tokens)
        temperatures = [row.temperature for row in rows]
        return cls(
            scale=torch.tensor([temperature or 1.0 for temperature in temperatures], device=device)[:, None],
            greedy=torch.tensor([not temperature for temperature in temperatures], device=device)[:, None],
            chances=torch.from_numpy(chances).to(device),
            limits=torch.tensor([row.max_tokens for row in rows], device=device),
            end_ids=torch.tensor(sorted(end_ids), dtype=torch.long, device=device),
            tokens=torch.zeros(len(rows), longest, dtype=torch.long, device=device),
            logprobs=torch.zeros(len(rows), longest, device=device),
            waiting=torch.ones(len(rows), dtype=torch.bool, device=device),
        )

    def take(self, logits: Tensor) -> list[int]:
        """Samples the next token of every row, and returns the rows that are now complete.

        Greedy rows take the likeliest token, with its log-probability at temperature 1.

        Args:
            logits: (R, vocabulary).

        Raises:
            ModelError: they are not finite.
        """
        log_softmax = (logits / self.scale).log_softmax(-1)
        # Inverse transform sampling in float64: float32 sums over a vocabulary are not accurate enough.
        cumulative = log_softmax.double().exp_().cumsum(-1)
        points = self.chances[:, self.count : self.count + 1] * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, points, right=True).clamp_(max=logits.shape[1] - 1)
        tokens = torch.where(self.greedy, log_softmax.argmax(-1, keepdim=True), drawn)
        self.tokens[:, self.count] = tokens[:, 0]
        self.logprobs[:, self.count] = log_softmax.gather(1, tokens)[:, 0]
        self.count += 1
        complete = self.waiting & (torch.isin(tokens[:, 0], self.end_ids) | (self.limits == self.count))
        self.waiting = self.waiting & ~complete
        broken = ~torch.isfinite(log_softmax.amax(-1)).all()
        *flags, is_broken = torch.cat([complete, broken[None]]).tolist()
        if is_broken:
            raise ModelError(
                "The policy's logits are not finite: its weights are broken; go back to an earlier checkpoint."
            )
        return [line for line, flag in enumerate(flags) if flag] if any(flags) else []

    def drawn(self, lines: Sequence[int]) -> Iterator[tuple[int, list[int], list[float]]]:
        """Tokens and log-probabilities of some rows."""
        index = torch.tensor(lines, device=self.tokens.device)
        tokens, logprobs = self.tokens[index, : self.count], self.logprobs[index, : self.count]
        return zip(lines, tokens.tolist(), logprobs.tolist(), strict=True)

    def select(self, lines: Sequence[int]) -> _Draws:
        """These rows only."""
        index = torch.tensor(lines, device=self.tokens.device)
        of_rows = ("scale", "greedy", "chances", "limits", "tokens", "logprobs", "waiting")
        return replace(self, **{name: getattr(self, name)[index] for name in of_rows})


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
    """The memories of several sequences in one buffer (layers, 2, rows, heads, tokens, head size).

    Args:
        memories: one a sequence.
        room: tokens that the buffer can take before it has to grow.
        shared: tokens that all sequences begin with; they are kept apart, once.
    """

    def __init__(self, memories: Sequence[Tensor], room: int, shared: int = 0) -> None:
        self.prefix = memories[0][:, :, :, :shared]
        """Memory of the shared tokens."""
        own = [memory[:, :, :, shared:] for memory in memories]
        self.length = max(memory.shape[3] for memory in own)
        self.before = self.length
        """Start of the tokens of the latest forward pass."""
        self.starts = [self.length - memory.shape[3] for memory in own]
        layers, two, heads, _, size = memories[0].shape
        self._buffer = memories[0].new_zeros(layers, two, len(own), heads, self.length + room, size)
        for line, memory in enumerate(own):
            self._buffer[:, :, line, :, self.starts[line] : self.length] = memory
        self._starts = torch.tensor(self.starts, device=self._buffer.device)
        self._cache = self._over_buffer()

    def forward(self, model: PreTrainedModel, ids: Tensor) -> Tensor:
        """Hidden states (rows, new tokens, size) of new tokens (rows, new tokens), which join the batch."""
        count = ids.shape[1]
        if self.length + count > self._buffer.shape[4]:
            self._buffer = nn.functional.pad(self._buffer, [0, 0, 0, count + _ROOM])
            self._cache = self._over_buffer()
        columns = torch.arange(self.length + count, device=ids.device)[None]
        starts = self._starts[:, None]
        positions = columns[:, self.length :] - starts + self.prefix.shape[3]
        output = model.base_model(
            input_ids=ids,
            attention_mask=(columns >= starts).long(),
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            **({"prefix": self.prefix} if self.prefix.shape[3] else {}),
        )
        self.before, self.length = self.length, self.length + count
        return output.last_hidden_state  # type: ignore[no-any-return]

    def memory(self, line: int, end: int) -> Tensor:
        """A copy of the memory of a row up to the column `end`."""
        return torch.cat([self.prefix, self._buffer[:, :, line, :, self.starts[line] : end]], dim=3)

    def select(self, lines: Sequence[int]) -> _Batch:
        """A batch of these rows only."""
        batch = object.__new__(_Batch)
        batch.prefix = self.prefix
        batch.starts = [self.starts[line] for line in lines]
        batch.length, batch.before = self.length, self.before
        batch._buffer = self._buffer[:, :, list(lines)]
        batch._starts = self._starts[list(lines)]
        batch._cache = batch._over_buffer()
        return batch

    def _over_buffer(self) -> DynamicCache:
        cache = DynamicCache()
        cache.layers = [_Layer(layer[0], layer[1], self.length) for layer in self._buffer]
        return cache
