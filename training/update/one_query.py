"""Attention of one new token a sequence, as in decoding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def one_query(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """Attention of one new token a sequence, (B, H, 1, D) to (B, 1, H, D).

    The query heads that share a key head see the same keys, so they are taken for as many queries of that head. Keys
    and values are then read where they lie; transformers would repeat them for each query head first.
    """
    rows, heads, _, width = query.shape
    grouped = query.view(rows, key.shape[1], -1, width)
    out = nn.functional.scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=scale)
    return out.reshape(rows, 1, heads, width)


def one_query_over_prefix(
    query: Tensor,
    first_keys: Tensor,
    first_values: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float | None,
) -> Tensor:
    """`one_query` over keys that all sequences begin with, and then each one's own, with one softmax over both.

    All queries of a key head meet the shared keys in one product, which reads them once.

    Args:
        query: (B, H, 1, D).
        first_keys, first_values: shared, (K, P, D) for K key heads.
        key, value: own, (B, K, S, D).
        mask: of the own keys, boolean or additive, (B, 1, 1, S); None shows all.
        scale: of the scores; default: 1 / sqrt(D).

    Returns:
        (B, 1, H, D).
    """
    rows, heads, _, width = query.shape
    grouped = query.view(rows, key.shape[1], -1, width)  # (B, K, G, D)
    by_head = grouped.transpose(0, 1).reshape(key.shape[1], -1, width)  # (K, B * G, D)
    shared = (by_head @ first_keys.transpose(1, 2)).view(key.shape[1], rows, -1, first_keys.shape[1]).transpose(0, 1)
    own = (grouped @ key.transpose(2, 3)).float()
    factor = width**-0.5 if scale is None else scale
    own = own * factor
    if mask is not None:
        own = own.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else own + mask
    weights = torch.cat([shared.float() * factor, own], dim=-1).softmax(-1).to(query.dtype)
    first, rest = weights[..., : first_keys.shape[1]], weights[..., first_keys.shape[1] :]
    of_shared = first.transpose(0, 1).reshape(key.shape[1], -1, first_keys.shape[1]) @ first_values
    out = of_shared.view(key.shape[1], rows, -1, width).transpose(0, 1) + rest @ value
    return out.reshape(rows, 1, heads, width)
