"""Attention over a forest of packed rows: every token sees its own path to the root and nothing else.

A segment of the forest has to attend to itself, causally, and to all of every ancestor. Softmax over the whole path
can be put together from softmaxes over its parts when each part also yields its log-sum-exp, so nothing needs to be
gathered per path: because the forest is laid out depth-first, the descendants of a segment are one contiguous range of
queries, and one rectangular attention call without a mask lets *all of them* attend to that segment. Per forest that
is one causal call per segment and one unmasked call per fork, over views of the packed keys and values, with exactly
the arithmetic the paths need (a mask would compute what it hides). The backward pass needs only the merged output and
log-sum-exp to split into the same calls, and each part's gradients simply add up.

Forks a few tokens after each other would make calls over a few keys that still pass over all their descendants.
A segment shorter than `SHORT` therefore makes none: its tokens are put in front of each child's causal call instead.

On CUDA the same pieces are a few calls of flash attention for various lengths (`training.update.varlen`), which takes
half precision alone; in float32 the visibility rule is a FlexAttention block mask. All are reached through
transformers' `AttentionInterface` under the name `PREFIX_TREE`; the forest travels as a keyword argument of the model's
forward pass, which gradient checkpointing binds to the layer and so replays in the backward pass. What a layer's
attention gave is kept for that replay (N x H x D numbers a layer), so that it is not computed twice. Without a forest
the implementation is transformers' own SDPA, so a model that has it set generates and trains unpacked as before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from graph.errors import ConfigError
from training.models.prefix_tree import PREFIX_TREE
from training.update.one_query import one_query, one_query_over_prefix
from training.update.pieces import Piece, Span
from training.update.rows import IntArray
from training.update.varlen import HALF, Call, VarlenForestAttention, calls_of

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

SHORT = 32
"""Segments with fewer tokens are attended to together with their children."""

cuda_kernel: Literal["flash", "flex"] = "flash"
"""What attends on CUDA in half precision; `training.speed --attention` compares the two."""

_flash_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class Forest:
    """How the packed tokens of one micro-batch see each other."""

    pieces: tuple[Piece, ...]
    """Attention calls that together show every token its path once; causal ones first, one per segment."""
    visible_until: tuple[Span, ...]
    """Per segment in order: its length, and the packed index behind the last descendant of its tokens."""
    kept: dict[int, tuple[Tensor, ...]] = field(default_factory=dict, compare=False, repr=False)
    """Output and log-sum-exp of the forward pass, by the attention module's id, until they are replayed."""
    calls: dict[tuple[torch.device, float | None], tuple[Call, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """The pieces as calls on a device, the same for every layer."""

    @classmethod
    def of(cls, segments: IntArray) -> Forest:
        """The forest of segments (S, 3) of start, length and parent, as `training.update.packing` lays them out."""
        spans = [(int(start), int(start + length)) for start, length, _ in segments]
        parents = [int(parent) for _, _, parent in segments]
        subtree_end = [end for _, end in spans]
        for index in range(len(spans) - 1, -1, -1):  # children come after their parents
            if parents[index] >= 0:
                subtree_end[parents[index]] = max(subtree_end[parents[index]], subtree_end[index])
        causal, full = [], []
        carried: list[tuple[Span, ...]] = []  # what each segment's children must attend to by themselves
        for span, parent, descendants_end in zip(spans, parents, subtree_end, strict=True):
            before = carried[parent] if parent >= 0 else ()
            keys = (*before, span)
            causal.append(Piece(span, keys, causal=True))
            if sum(end - start for start, end in keys) < SHORT:
                carried.append(keys)
                continue
            carried.append(())
            if descendants_end > span[1]:
                full.append(Piece((span[1], descendants_end), keys, causal=False))
        lengths = [end - start for start, end in spans]
        return cls((*causal, *full), tuple(zip(lengths, subtree_end, strict=True)))

    def visible_until_per_token(self, device: torch.device) -> Tensor:
        """For each packed token the index of the first query behind it that does not descend from it, (N,)."""
        lengths, ends = torch.tensor(self.visible_until, device=device).unbind(1)
        return ends.repeat_interleave(lengths)

    def block_mask(self, device: torch.device) -> BlockMask:
        """FlexAttention's form of the same rule: query i sees key j if j <= i < the end of j's descendants."""
        from torch.nn.attention.flex_attention import create_block_mask

        until = self.visible_until_per_token(device)

        def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (key <= query) & (query < until[key])

        return create_block_mask(
            sees, None, None, len(until), len(until), device=device, _compile=device.type == "cuda"
        )

    def calls_on(self, device: torch.device, scale: float | None) -> tuple[Call, ...]:
        """The pieces as calls of flash attention; made once for all layers."""
        if (device, scale) not in self.calls:
            self.calls[device, scale] = calls_of(self.pieces, device, scale)
        return self.calls[device, scale]

    def attention_mask(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor | BlockMask:
        """What to pass as the model's `attention_mask`: transformers hands on anything four-dimensional untouched.

        With no mask at all it would take positions that restart for separate sequences and build a dense mask.
        """
        if device.type == "cuda" and (dtype not in HALF or cuda_kernel == "flex"):
            return self.block_mask(device)
        return torch.zeros(1, 1, 1, 1, device=device)


class _ForestAttention(torch.autograd.Function):
    """Attention of all pieces, merged; see the module's docstring.

    Shapes: G query heads share each of K key heads; N packed tokens of width D.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        forest: Forest,
        scale: float | None,
        replayed: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor]:
        out, lse_gkn = replayed or _merged(query, key, value, forest.pieces, scale)
        ctx.save_for_backward(query, key, value, out, lse_gkn)
        ctx.mark_non_differentiable(lse_gkn)
        ctx.pieces, ctx.scale = forest.pieces, scale
        return out, lse_gkn

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        query, key, value, out, lse_gkn = ctx.saved_tensors
        q_gknd, k_gknd, v_gknd = _by_group(query, key, value)
        heads = key.shape[1]
        grad_gknd, out_gknd = _heads_first(grad.contiguous(), heads), _heads_first(out, heads)
        d_query = torch.empty_like(out)  # (1, N, heads, D): every query is in exactly one causal piece
        dq_gknd = _heads_first(d_query, heads)
        d_key, d_value = torch.zeros_like(key), torch.zeros_like(value)
        for piece in ctx.pieces:
            queries = piece.keys if piece.causal else (piece.queries,)
            grad_piece = _take(grad_gknd, queries)
            start, end = piece.queries
            if len(piece.keys) > 1 and piece.causal:
                # The short ancestors' own queries are answered in their own pieces; here they only fill the triangle.
                grad_piece[:, :, : start - end] = 0
            dq, dk, dv = _flash_backward(
                grad_piece, _take(q_gknd, queries), _take(k_gknd, piece.keys), _take(v_gknd, piece.keys),
                _take(out_gknd, queries), _take(lse_gkn, queries), 0.0, piece.causal, scale=ctx.scale,
            )  # fmt: skip
            if piece.causal:
                dq_gknd[:, :, start:end] = dq[:, :, start - end :]
            else:
                dq_gknd[:, :, start:end] += dq
            _add(d_key, piece.keys, dk.sum(0, keepdim=True))
            _add(d_value, piece.keys, dv.sum(0, keepdim=True))
        return d_query.transpose(1, 2), d_key, d_value, None, None, None


def _merged(
    query: Tensor, key: Tensor, value: Tensor, pieces: tuple[Piece, ...], scale: float | None
) -> tuple[Tensor, Tensor]:
    """Output (1, N, H, D) and log-sum-exp (G, K, N) of all pieces; see the module's docstring."""
    q_gknd, k_gknd, v_gknd = _by_group(query, key, value)
    groups, heads, tokens, width = q_gknd.shape
    # Laid out as the caller wants it, (1, N, heads, D), and viewed as the pieces write it.
    out = query.new_empty(1, tokens, groups * heads, width)
    out_gknd = _heads_first(out, heads)
    lse_gkn = query.new_empty(groups, heads, tokens)
    for piece in pieces:
        queries = piece.keys if piece.causal else (piece.queries,)
        part, part_lse = _flash_forward(
            _take(q_gknd, queries), _take(k_gknd, piece.keys), _take(v_gknd, piece.keys), 0.0, piece.causal, scale=scale
        )
        start, end = piece.queries
        if piece.causal:
            out_gknd[:, :, start:end] = part[:, :, start - end :]
            lse_gkn[:, :, start:end] = part_lse[:, :, start - end :]
            continue
        lse = lse_gkn[:, :, start:end]
        share = torch.sigmoid(part_lse - lse)  # of this piece in the softmax so far
        out_gknd[:, :, start:end].lerp_(part, share.unsqueeze(-1))
        torch.logaddexp(lse, part_lse, out=lse)
    return out, lse_gkn


def _by_group(query: Tensor, key: Tensor, value: Tensor) -> Iterator[Tensor]:
    """Views (G, K, N, D) of (1, G * K, N, D) queries and (1, K, N, D) keys and values; nothing is repeated."""
    heads = key.shape[1]
    groups = query.shape[1] // heads
    yield query[0].view(heads, groups, *query.shape[2:]).transpose(0, 1)
    yield key.expand(groups, -1, -1, -1)
    yield value.expand(groups, -1, -1, -1)


def _heads_first(x: Tensor, heads: int) -> Tensor:
    """View (G, K, N, D) of (1, N, K * G, D)."""
    return x[0].view(x.shape[1], heads, -1, x.shape[3]).permute(2, 1, 0, 3)


def _take(x: Tensor, spans: tuple[Span, ...]) -> Tensor:
    """Tokens of dimension 2 in these spans: a view of one span, a copy of several."""
    parts = [x[:, :, start:end] for start, end in spans]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _add(x: Tensor, spans: tuple[Span, ...], values: Tensor) -> None:
    offset = 0
    for start, end in spans:
        x[:, :, start:end] += values[:, :, offset : offset + end - start]
        offset += end - start


def forest_attention(
    query: Tensor, key: Tensor, value: Tensor, forest: Forest, scale: float | None = None, layer: int | None = None
) -> Tensor:
    """Attention over packed rows on the CPU, computed in float32 at least.

    Args:
        query: (1, H, N, D), rotated to the tokens' positions.
        key, value: (1, K, N, D) with H a multiple of K.
        forest: which token sees which; of one forward pass where a layer is given.
        scale: of the scores; 1 / sqrt(D) when None.
        layer: what tells this call from the forest's others. With it a call that gradient checkpointing repeats in the
            backward pass takes the result of the first.

    Returns:
        (1, N, H, D), differentiable once.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    tensors = [x.to(wide) for x in (query, key, value)]
    replaying, replayed = _replay(forest, layer)
    out: Tensor
    with torch.autocast(query.device.type, enabled=False):
        out, lse = _ForestAttention.apply(*tensors, forest, scale, replayed)  # type: ignore[no-untyped-call]
    if layer is not None and torch.is_grad_enabled() and not replaying:
        forest.kept[layer] = out.detach(), lse
    return out.to(query.dtype)


def flash_forest_attention(
    query: Tensor, key: Tensor, value: Tensor, forest: Forest, scale: float | None = None, layer: int | None = None
) -> Tensor:
    """Attention over packed rows on CUDA in half precision; arguments and result as in `forest_attention`."""
    replaying, replayed = _replay(forest, layer)
    tensors = [x[0].transpose(0, 1) for x in (query, key, value)]
    calls = forest.calls_on(query.device, scale)
    with torch.autocast(query.device.type, enabled=False):
        out, *more = VarlenForestAttention.apply(*tensors, calls, replayed)  # type: ignore[no-untyped-call]
    if layer is not None and torch.is_grad_enabled() and not replaying:
        forest.kept[layer] = (out.detach(), *more)
    result: Tensor = out.unsqueeze(0)
    return result


def _replay(forest: Forest, layer: int | None) -> tuple[bool, Any]:
    """Whether gradient checkpointing repeats a layer in the backward pass, and what the layer gave the first time."""
    replaying = torch._C._current_graph_task_id() != -1  # a backward pass is at work
    return replaying, forest.kept.pop(layer, None) if replaying and layer is not None else None


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    forest: Forest | None = None,
    prefix: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """What transformers calls in every attention layer of a model whose implementation is `PREFIX_TREE`.

    `prefix` holds keys and values that all sequences of a batch begin with (layers, 2, key heads, tokens, head size),
    while one new token of each is computed.
    """
    extras = [name for name in ("sliding_window", "softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if prefix is not None:
        keys, values = prefix[module.layer_idx]  # type: ignore[index]  # transformers numbers its attention layers
        return one_query_over_prefix(query, keys, values, key, value, attention_mask, scaling), None
    if forest is None:
        # As `forest_attention` does, so that both paths round alike. CPU kernels for half precision are also several
        # times slower; single queries (decoding) keep theirs, since they would convert the whole cache each time.
        wide = torch.float32 if query.device.type == "cpu" and query.shape[2] > 1 else query.dtype
        if query.shape[2] == 1 and query.shape[1] > key.shape[1] and not (dropout or extras):
            return one_query(query, key, value, attention_mask, scaling), None
        q, k, v = (x.to(torch.promote_types(x.dtype, wide)) for x in (query, key, value))
        out, _ = sdpa_attention_forward(module, q, k, v, attention_mask, scaling=scaling, dropout=dropout, **kwargs)
        return out.to(query.dtype), None
    if dropout or extras:
        asked = ", ".join([*extras, *(["dropout"] if dropout else [])])
        raise ConfigError(f"{type(module).__name__} asks for {asked}, which packed attention lacks; train it unpacked.")
    if query.device.type == "cuda":
        if isinstance(attention_mask, Tensor):
            return flash_forest_attention(query, key, value, forest, scaling, layer=id(module)), None
        return _flex(query, key, value, attention_mask, scaling), None
    return forest_attention(query, key, value, forest, scaling, layer=id(module)), None


def _flex(query: Tensor, key: Tensor, value: Tensor, mask: BlockMask, scale: float | None) -> Tensor:
    """FlexAttention on (1, H, N, D), to (1, N, H, D); compiled once for all lengths, and never silently not at all."""
    for x in (query, key, value):
        torch._dynamo.maybe_mark_dynamic(x, 2)
    # Behind its limit of compilations Dynamo would run the kernel eagerly, in time and memory that are quadratic.
    # For fewer than 128 queries there is another kernel, which cannot be built in float32.
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        out = _compiled_flex()(
            query, key, value, block_mask=mask, scale=scale, enable_gqa=True,
            kernel_options={"FORCE_USE_FLEX_ATTENTION": True},
        )  # fmt: skip
    return out.transpose(1, 2).contiguous()


@functools.cache
def _compiled_flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


AttentionInterface.register(PREFIX_TREE, _attention)
AttentionMaskInterface.register(PREFIX_TREE, sdpa_mask)
