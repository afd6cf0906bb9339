"""Attention over a forest on CUDA, by torch's own flash-attention operators for sequences of various lengths.

The pieces of `training.update.attention` are many and small; here those that do not share a query go into one call:
all causal pieces, then the rectangular ones level by level, as forks lie inside forks. So a layer makes one call and
one more for each level, whatever the number of rollouts, and nothing is compiled. Every call also yields its
log-sum-exp, by which the parts of each query's softmax are merged; the backward pass splits into the same calls.

Flash attention aligns a causal mask at the end of queries and keys. That is what a segment with short ancestors needs:
its own tokens come last and see all of the ancestors'.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from training.update.pieces import Piece, Span

Result = tuple[Tensor, Tensor, Tensor, Tensor]
"""Output, log-sum-exp, and the state of a dropout that there is not, which the backward operator asks for."""

HALF = (torch.bfloat16, torch.float16)
"""The types that the operators know."""


class Varlen(NamedTuple):
    """Where one call's sequences lie; see `torch.nn.attention.varlen`."""

    cu_q: Tensor
    """Where each sequence's queries begin, and the end of the last: (S + 1,), int32."""
    cu_k: Tensor
    max_q: int
    max_k: int
    causal: bool
    scale: float | None


Tokens = slice | Tensor
"""Some of the packed tokens: a range of them, which costs no copy, or their indices, (T,)."""


@dataclass(frozen=True)
class Call:
    """One attention call over several pieces."""

    at: Varlen
    queries: Tokens
    """Those that ask."""
    keys: Tokens
    """Those that are asked."""


def calls_of(pieces: Sequence[Piece], device: torch.device, scale: float | None) -> tuple[Call, ...]:
    """The calls of a forest: the causal one first, then one for each level of forks."""
    causal = [piece for piece in pieces if piece.causal]
    levels: list[list[Piece]] = []
    open_until: list[int] = []  # ends of the query ranges around the piece at hand, outermost first
    forks = [piece for piece in pieces if not piece.causal]
    for piece in sorted(forks, key=lambda piece: (piece.queries[0], -piece.queries[1])):
        while open_until and open_until[-1] <= piece.queries[0]:
            open_until.pop()
        level = len(open_until)
        open_until.append(piece.queries[1])
        if level == len(levels):
            levels.append([])
        levels[level].append(piece)
    return tuple(_call(group, device, scale) for group in (causal, *levels))


def _call(pieces: Sequence[Piece], device: torch.device, scale: float | None) -> Call:
    queries = [piece.queries for piece in pieces]
    keys = [span for piece in pieces for span in piece.keys]
    q_lengths = [end - start for start, end in queries]
    k_lengths = [sum(end - start for start, end in piece.keys) for piece in pieces]
    at = Varlen(
        _cumulated(q_lengths, device),
        _cumulated(k_lengths, device),
        max(q_lengths),
        max(k_lengths),
        pieces[0].causal,
        scale,
    )
    return Call(at, _tokens(queries, device), _tokens(keys, device))


def _cumulated(lengths: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).to(device, torch.int32)


def _tokens(spans: Sequence[Span], device: torch.device) -> Tokens:
    if all(end == start for (_, end), (start, _) in itertools.pairwise(spans)):
        return slice(spans[0][0], spans[-1][1])
    return torch.cat([torch.arange(start, end) for start, end in spans]).to(device)


class VarlenForestAttention(torch.autograd.Function):
    """Attention of all calls, merged. Shapes: queries (N, H, D); keys and values (N, K, D); log-sum-exp (H, N)."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, calls: tuple[Call, ...], replayed: Result | None
    ) -> Result:
        result = replayed or _merged(query, key, value, calls)
        ctx.save_for_backward(query, key, value, *result)
        ctx.mark_non_differentiable(*result[1:])
        ctx.calls = calls
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, out, lse, *dropout = ctx.saved_tensors
        grad = grad.contiguous()
        parts = [
            backward_of(
                _rows(grad, call.queries), _rows(query, call.queries), _rows(key, call.keys), _rows(value, call.keys),
                _rows(out, call.queries), _columns(lse, call.queries), call.at, *dropout,
            )
            for call in ctx.calls
        ]  # fmt: skip
        d_query, d_key, d_value = zip(*parts, strict=True)
        asking, asked = [call.queries for call in ctx.calls], [call.keys for call in ctx.calls]
        return _sum(query, asking, d_query), _sum(key, asked, d_key), _sum(value, asked, d_value), None, None


def _merged(query: Tensor, key: Tensor, value: Tensor, calls: Sequence[Call]) -> Result:
    """Output (N, H, D) and log-sum-exp (H, N) of all calls."""
    first, *others = calls
    out, lse, *dropout = forward_of(query, _rows(key, first.keys), _rows(value, first.keys), first.at)
    if not others:
        return out, lse, dropout[0], dropout[1]
    wide = out.float()
    for call in others:
        asking, keys, values = _rows(query, call.queries), _rows(key, call.keys), _rows(value, call.keys)
        part, part_lse, *_ = forward_of(asking, keys, values, call.at)
        so_far = _columns(lse, call.queries)
        share = torch.sigmoid(part_lse - so_far)  # of this call in the softmax so far
        wide[call.queries] = _rows(wide, call.queries).lerp(part.float(), share.t().unsqueeze(-1))
        lse[:, call.queries] = torch.logaddexp(so_far, part_lse)
    return wide.to(out.dtype), lse, dropout[0], dropout[1]


def _sum(x: Tensor, places: Sequence[Tokens], parts: Sequence[Tensor]) -> Tensor:
    """The gradient of `x`, of which every call gives that of some tokens; added up in float32."""
    if len(parts) == 1 and len(parts[0]) == len(x) and isinstance(places[0], slice):
        return parts[0]
    total = torch.zeros_like(x, dtype=torch.float32)
    for place, part in zip(places, parts, strict=True):
        if isinstance(place, slice):
            total[place] += part
        else:
            total.index_add_(0, place, part.float())
    return total.to(x.dtype)


def _rows(x: Tensor, tokens: Tokens) -> Tensor:
    return x[tokens] if isinstance(tokens, slice) else x.index_select(0, tokens)


def _columns(x: Tensor, tokens: Tokens) -> Tensor:
    return x[:, tokens] if isinstance(tokens, slice) else x.index_select(1, tokens)


def forward_of(query: Tensor, key: Tensor, value: Tensor, at: Varlen) -> Result:
    """Output (Tq, H, D), log-sum-exp (H, Tq) in float32, and what the backward operator wants back."""
    out, lse, state, unused, _ = torch.ops.aten._flash_attention_forward(
        query, key, value, at.cu_q, at.cu_k, at.max_q, at.max_k, 0.0, at.causal, False, scale=at.scale
    )
    return out, lse, state, unused


def backward_of(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor, at: Varlen, *dropout: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values. `out` and `lse` may be of a softmax over more keys than these."""
    d_query, d_key, d_value = torch.ops.aten._flash_attention_backward(
        grad, query, key, value, out, lse.contiguous(), at.cu_q, at.cu_k, at.max_q, at.max_k, 0.0, at.causal,
        *dropout, scale=at.scale,
    )  # fmt: skip
    return d_query, d_key, d_value
