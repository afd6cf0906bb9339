"""The calls of the CUDA path, with the operators replaced by their definition: the GPU test is in test_logprobs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.training.support.sample_rows import forests, row
from training.update import attention, varlen
from training.update.attention import Forest, flash_forest_attention, forest_attention
from training.update.packing import pack
from training.update.rows import Row
from training.update.varlen import Varlen

torch.set_num_threads(1)


def scores_of(query: Tensor, key: Tensor, at: Varlen) -> Tensor:
    """Masked scores (H, Tq, Tk) of all sequences: causal at the end, as flash attention aligns it."""
    heads, shared = query.shape[1], query.shape[1] // key.shape[1]
    keys = key.repeat_interleave(shared, dim=1)
    scale = at.scale or query.shape[2] ** -0.5
    scores = torch.einsum("qhd,khd->hqk", query, keys) * scale
    seen = torch.zeros(len(query), len(key), dtype=torch.bool)
    for number in range(len(at.cu_q) - 1):
        (q0, q1), (k0, k1) = at.cu_q[number : number + 2].tolist(), at.cu_k[number : number + 2].tolist()
        assert q1 - q0 <= at.max_q
        assert k1 - k0 <= at.max_k
        block = torch.ones(q1 - q0, k1 - k0, dtype=torch.bool)
        seen[q0:q1, k0:k1] = block.tril(k1 - k0 - (q1 - q0)) if at.causal else block
    return scores.masked_fill(~seen.expand(heads, -1, -1), -torch.inf)


def forward_by_definition(query: Tensor, key: Tensor, value: Tensor, at: Varlen) -> Any:
    scores = scores_of(query, key, at)
    values = value.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    out = torch.einsum("hqk,khd->qhd", scores.softmax(-1), values)
    return out, scores.logsumexp(-1), torch.zeros(2), torch.zeros(0)


def backward_by_definition(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor, at: Varlen, *_: Tensor
) -> Any:
    """Flash attention's own equations, which allow `out` and `lse` of a softmax over more keys."""
    shared = query.shape[1] // key.shape[1]
    keys, values = (x.repeat_interleave(shared, dim=1) for x in (key, value))
    chances = (scores_of(query, key, at) - lse[..., None]).exp()
    d_value = torch.einsum("hqk,qhd->khd", chances, grad)
    d_chances = torch.einsum("qhd,khd->hqk", grad, values)
    row = (grad * out).sum(-1).t()[..., None]
    d_scores = chances * (d_chances - row) * (at.scale or query.shape[2] ** -0.5)
    d_query = torch.einsum("hqk,khd->qhd", d_scores, keys)
    d_key = torch.einsum("hqk,qhd->khd", d_scores, query)
    merged = [x.unflatten(1, (key.shape[1], shared)).sum(2) for x in (d_key, d_value)]
    return d_query, *merged


@pytest.mark.parametrize("short", [0, 4, 1000])
@given(rows=forests(), heads=st.integers(1, 2), groups=st.integers(1, 3))
@settings(max_examples=40)
def test_calls_give_what_the_pieces_give(short: int, rows: list[Row], heads: int, groups: int) -> None:
    (batch,) = pack(rows, 1000)
    assert batch.segments is not None
    generator = torch.Generator().manual_seed(batch.tokens)
    query = torch.randn(1, batch.tokens, heads * groups, 8, generator=generator).transpose(1, 2).requires_grad_()
    key, value = (
        torch.randn(1, batch.tokens, heads, 8, generator=generator).transpose(1, 2).requires_grad_() for _ in range(2)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "SHORT", short)
        patch.setattr(varlen, "forward_of", forward_by_definition)
        patch.setattr(varlen, "backward_of", backward_by_definition)
        forest = Forest.of(batch.segments)
        flash = flash_forest_attention(query, key, value, forest, scale=0.3)
        pieces = forest_attention(query, key, value, forest, scale=0.3)
        torch.testing.assert_close(flash, pieces, atol=1e-5, rtol=1e-4)
        upstream = torch.randn(pieces.shape, generator=generator)
        inputs = (query, key, value)
        for ours, theirs in zip(
            torch.autograd.grad(flash, inputs, upstream), torch.autograd.grad(pieces, inputs, upstream), strict=True
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_the_number_of_calls_depends_on_the_depth_and_not_on_the_rollouts() -> None:
    """A group of one question whose rollouts fork at the root, and once more in each turn."""

    def calls(rollouts: int, turns: int) -> int:
        rows = []
        for rollout in range(rollouts):
            ids = list(range(40))
            for turn in range(turns):
                ids += [100 * turn + (rollout >> turn) % 4] * 40
            rows.append(row(ids))
        (batch,) = pack(rows, 10**6)
        return len(Forest.of(batch.segments).calls_on(torch.device("cpu"), None))

    assert calls(64, 3) <= 1 + 3
    assert calls(64, 3) == calls(16, 3)
