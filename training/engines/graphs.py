"""Decoding steps as CUDA graphs: a GPU repeats a recorded step without waiting for Python to launch its kernels.

A recording repeats the same operations on the same addresses. A step therefore works on *places*: tensors for the
tokens, the column they go to, the rows' starts, keys and values, and logits. Rows and lengths are rounded up, so that
few recordings serve all waves; a mask hides what is not of this wave. All recordings share one storage, since one wave
runs at a time.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from training.models.prefix_tree import PREFIX_TREE

if TYPE_CHECKING:
    from torch.cuda import _POOL_HANDLE

logger = logging.getLogger(__name__)

_ROUND = 256
"""Lengths are multiples of this: own ones rounded up, that of a shared prefix down."""
_WARM_UP = 3
"""Steps before a recording: kernels are compiled and chosen, and libraries allocate what they keep."""


class Step:
    """One decoding step of R rows on fixed places; `run` neither waits for the device nor depends on its data.

    Args:
        model: the language model.
        own: keys and values of each row, (layers, 2, R, heads, L, head size).
        prefix: keys and values that all rows begin with (layers, 2, heads, P, head size).
        logits: takes the result, (R, vocabulary) in float32.
    """

    def __init__(self, model: PreTrainedModel, own: Tensor, prefix: Tensor, logits: Tensor) -> None:
        self.own, self.prefix, self.logits = own, prefix, logits
        rows = own.shape[2]
        self.tokens = torch.zeros(rows, 1, dtype=torch.long, device=own.device)
        self.column = torch.zeros(1, dtype=torch.long, device=own.device)
        """Where in `own` the keys and values of `tokens` go."""
        self.starts = torch.zeros(rows, 1, dtype=torch.long, device=own.device)
        """First column of each row."""
        self._model = model
        self._head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        self._last_position = (getattr(model.config, "max_position_embeddings", None) or 2**31) - 1
        self._cache = DynamicCache()
        self._cache.layers = [_Places(layer[0], layer[1], self.column) for layer in own]

    def run(self) -> None:
        """Computes `logits` from `tokens`, whose keys and values join `own`."""
        columns = torch.arange(self.own.shape[4], device=self.own.device)
        seen = (columns >= self.starts) & (columns <= self.column)  # (R, L)
        positions = self.column - self.starts + self.prefix.shape[3]
        output = self._model.base_model(
            input_ids=self.tokens,
            attention_mask=seen[:, None, None],  # transformers looks into a two-dimensional mask, which would wait
            position_ids=positions.clamp(max=self._last_position),  # rows that are complete run on
            past_key_values=self._cache,
            use_cache=True,
            **({"prefix": self.prefix} if self.prefix.shape[3] else {}),
        )
        self.logits.copy_(self._head(output.last_hidden_state[:, -1]))


class StaticBatch:
    """The memories of a wave on the places of a step; the counterpart of `training.engines.decoding._Batch`.

    Args:
        step: with at least as many rows as there are memories, and as many columns as there will be tokens.
        replay: runs the step.
        memories: one a sequence; all begin with the step's prefix.
    """

    def __init__(self, step: Step, replay: Callable[[], None], memories: Sequence[Tensor]) -> None:
        self._step, self._replay = step, replay
        shared = step.prefix.shape[3]
        self.length = max(memory.shape[3] for memory in memories) - shared
        self._starts = [self.length + shared - memory.shape[3] for memory in memories]
        step.prefix.copy_(memories[0][:, :, :, :shared])
        step.own.zero_()  # a hidden value still counts if it is not finite
        for line, memory in enumerate(memories):
            step.own[:, :, line, :, self._starts[line] : self.length] = memory[:, :, :, shared:]
        # Rows without a sequence see the tokens of this wave's steps, so that no softmax is empty.
        spare = [self.length] * (step.own.shape[2] - len(memories))
        step.starts.copy_(torch.tensor([*self._starts, *spare])[:, None])

    def next(self, ids: Tensor) -> Tensor:
        """Logits (rows, vocabulary) behind new tokens (rows, 1), which join the batch; valid until the next call."""
        self._step.tokens[: len(ids)].copy_(ids)
        self._step.column.fill_(self.length)
        self._replay()
        self.length += 1
        return self._step.logits[: len(ids)]

    def memory(self, line: int, end: int) -> Tensor:
        """A copy of the memory of a row up to the column `end`."""
        return torch.cat([self._step.prefix, self._step.own[:, :, line, :, self._starts[line] : end]], dim=3)


@dataclass(frozen=True, eq=False)
class _Recording:
    step: Step
    replay: Callable[[], None]


class StepGraphs:
    """The recorded steps of a model and the storage that they share; for one thread.

    Args:
        limit: largest number of recordings; the longest unused go first.
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._usable = True
        self._recordings: OrderedDict[Hashable, _Recording] = OrderedDict()
        self._storage: Tensor | None = None
        self._stream: torch.cuda.Stream | None = None
        self._pool: _POOL_HANDLE | None = None

    def __len__(self) -> int:
        return len(self._recordings)

    def clear(self) -> None:
        """Frees everything."""
        self._recordings.clear()
        self._storage = self._pool = None  # torch takes no new graphs into a pool whose graphs are gone

    @torch.no_grad()
    def batch(self, model: PreTrainedModel, memories: Sequence[Tensor], room: int, shared: int) -> StaticBatch | None:
        """The memories on the places of a recorded step; a batch of an earlier call must not be used any more.

        Args:
            model: the language model.
            memories: one a sequence.
            room: number of tokens that will be drawn, at most.
            shared: number of tokens that all memories begin with.

        Returns:
            None if there is no step to make, or the model's cannot be recorded, or there is no memory for it.
        """
        if not self._usable or room < 2 or not _static(model):
            return None
        shared -= shared % _ROUND
        length = max(memory.shape[3] for memory in memories) - shared + room
        sizes = _rounded_rows(len(memories)), length + -length % _ROUND, shared
        # A recording has the active adapters' operations and the weights' addresses in it. New values that are written
        # into the same weights, as after an update, are seen.
        key = (*sizes, _active_adapters(model), tuple(weight.data_ptr() for weight in model.parameters()))
        if key not in self._recordings:
            try:
                step = Step(model, *self._places(model, memories[0], *sizes))
                replay = self.record(step)
            except torch.OutOfMemoryError:  # this wave does with less
                self.clear()
                return None
            except RuntimeError as error:
                logger.warning("Sampling goes on without CUDA graphs, which is slower: %s", error)
                self._usable = False
                self.clear()
                return None
            self._recordings[key] = _Recording(step, replay)
            if len(self._recordings) > self._limit:
                self._recordings.popitem(last=False)
        self._recordings.move_to_end(key)
        recording = self._recordings[key]
        return StaticBatch(recording.step, recording.replay, memories)

    def record(self, step: Step) -> Callable[[], None]:
        """Records what a step launches on its GPU, and returns what repeats it.

        Raises:
            RuntimeError: the step waits for the GPU, or does something else that cannot be recorded.
        """
        with torch.cuda.device(step.own.device):  # a thread begins with the first one
            return self._record(step)

    def _record(self, step: Step) -> Callable[[], None]:
        # One pool and one stream: graphs then use the same memory for what they compute on the way.
        self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(self._stream):  # left in any case, as `torch.cuda.graph` is not when it fails
                for _ in range(_WARM_UP):
                    step.run()
                # Another thread may be training meanwhile; what it does is not recorded, and not forbidden.
                with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                    step.run()
        finally:
            torch.cuda.current_stream().wait_stream(self._stream)
        return graph.replay

    def _places(
        self, model: PreTrainedModel, memory: Tensor, rows: int, length: int, shared: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Views of the storage for a step's keys and values, its prefix and its logits.

        The storage grows if it has to, and what was recorded on the old one is gone.
        """
        layers, two, heads, _, size = memory.shape
        own, prefix = (layers, two, rows, heads, length, size), (layers, two, heads, shared, size)
        logits = (rows, model.get_output_embeddings().weight.shape[0])  # type: ignore[no-untyped-call]
        shapes = ((own, memory.dtype), (prefix, memory.dtype), (logits, torch.float32))
        counts = [math.prod(shape) * dtype.itemsize for shape, dtype in shapes]
        if self._storage is None or len(self._storage) < sum(counts):
            self.clear()
            self._storage = torch.empty(sum(counts), dtype=torch.uint8, device=memory.device)
        parts = torch.split(self._storage[: sum(counts)], counts)
        views = [part.view(dtype).view(shape) for part, (shape, dtype) in zip(parts, shapes, strict=True)]
        return views[0], views[1], views[2]


class _Places(DynamicLayer):  # type: ignore[no-untyped-call]
    """A cache layer of a fixed length, whose new token goes to the column that a tensor holds."""

    def __init__(self, keys: Tensor, values: Tensor, column: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.keys: Tensor = keys
        self.values: Tensor = values
        self._column = column

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Puts a token's keys and values in, and returns those of all columns."""
        self.keys.index_copy_(2, self._column, key_states.to(self.keys.dtype))
        self.values.index_copy_(2, self._column, value_states.to(self.values.dtype))
        return self.keys, self.values


def _static(model: PreTrainedModel) -> bool:
    """Whether all layers attend to what a boolean mask of four dimensions shows, and keep no other state."""
    config = model.config
    slides = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    others = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    unusual = any(getattr(config, name, None) for name in ("attention_chunk_size", "kv_lora_rank", "alibi"))
    stateful = getattr(model, "_is_stateful", False)
    return config._attn_implementation in (PREFIX_TREE, "sdpa") and not (slides or others or unusual or stateful)


def _rounded_rows(rows: int) -> int:
    """1, 2, 4, or a multiple of 8."""
    return 2 ** (rows - 1).bit_length() if rows <= 8 else rows + -rows % 8


def _active_adapters(model: PreTrainedModel) -> Hashable:
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = (module for module in model.modules() if isinstance(module, BaseTunerLayer))
    return frozenset((tuple(layer.active_adapters), layer.disable_adapters) for layer in layers)
