"""Packed attention equals attention under a dense mask of who sees whom."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AutoConfig,
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    T5Config,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tests.training.support.sample_rows import forests
from tests.training.support.tiny_model import tiny_model
from training.models.prefix_tree import PREFIX_TREE
from training.update import attention
from training.update.attention import Forest, forest_attention
from training.update.logprobs import attach_scoring
from training.update.packable import packing_refusal
from training.update.packing import pack
from training.update.rows import IntArray, Row, Terms

torch.set_num_threads(1)


def dense_mask(segments: IntArray) -> Tensor:
    """Who sees whom, token by token from parent to parent: the oracle, N x N."""
    size = int(segments[-1, :2].sum())
    mask = torch.zeros(size, size, dtype=torch.bool)
    for start, length, parent in segments.tolist():
        for token in range(start, start + length):
            before = token - 1 if token > start else int(segments[parent, :2].sum()) - 1 if parent >= 0 else None
            if before is not None:
                mask[token] = mask[before]
            mask[token, token] = True
    return mask


def tensors(size: int, heads: int, groups: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    shape = {"generator": generator, "dtype": dtype}
    query = torch.randn(1, size, heads * groups, 8, **shape).transpose(1, 2)  # strided as models make it
    key, value = (torch.randn(1, size, heads, 8, **shape).transpose(1, 2) for _ in range(2))
    return query.requires_grad_(), key.requires_grad_(), value.requires_grad_()


@pytest.mark.parametrize("short", [0, 4, 1000])
@given(rows=forests(), heads=st.integers(1, 2), groups=st.integers(1, 3))
@settings(max_examples=60)
def test_output_and_gradients_equal_the_dense_mask(short: int, rows: list[Row], heads: int, groups: int) -> None:
    (batch,) = pack(rows, 1000)
    assert batch.segments is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "SHORT", short)
        forest = Forest.of(batch.segments)
    inputs = tensors(batch.tokens, heads, groups)
    packed = forest_attention(*inputs, forest, scale=0.3)
    mask = dense_mask(batch.segments)
    dense = scaled_dot_product_attention(*inputs, attn_mask=mask, scale=0.3, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(packed, dense)
    upstream = torch.randn_like(dense)
    for ours, theirs in zip(
        torch.autograd.grad(packed, inputs, upstream), torch.autograd.grad(dense, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@given(forests())
@settings(max_examples=40)
def test_block_mask_for_cuda_is_the_dense_mask(rows: list[Row]) -> None:
    (batch,) = pack(rows, 1000)
    assert batch.segments is not None
    block_mask = Forest.of(batch.segments).block_mask(torch.device("cpu"))
    index = torch.arange(batch.tokens)
    zero = torch.tensor(0)
    mask = block_mask.mask_mod(zero, zero, index[:, None], index[None, :])
    assert torch.equal(mask, dense_mask(batch.segments))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_on_the_block_mask_equals_packed_attention() -> None:
    rows = [Row([*range(150), *[200 + branch] * 40], Terms.none()) for branch in range(3)]
    (batch,) = pack(rows, 1000)
    assert batch.segments is not None
    forest = Forest.of(batch.segments)
    query, key, value = (x.detach() for x in tensors(batch.tokens, 2, 2, torch.float32))
    flex = flex_attention(query, key, value, block_mask=forest.block_mask(torch.device("cpu")), enable_gqa=True)
    torch.testing.assert_close(flex.transpose(1, 2), forest_attention(query, key, value, forest), atol=1e-5, rtol=1e-4)


def test_shared_prefix_costs_one_call_for_all_branches() -> None:
    rows = [Row([*range(100), 200 + branch, *range(60)], Terms.none()) for branch in range(8)]
    (batch,) = pack(rows, 10_000)
    assert batch.segments is not None
    pieces = Forest.of(batch.segments).pieces
    assert len(pieces) == 9 + 1
    assert pieces[-1].queries == (100, 100 + 8 * 61)
    assert pieces[-1].keys == ((0, 100),)


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(),
        Qwen2Config(),
        Qwen3Config(),
        MistralConfig(sliding_window=None),
        GPT2Config(),
        AutoConfig.for_model("qwen3_moe"),
        AutoConfig.for_model("smollm3", use_sliding_window=False),
    ],
    ids=lambda config: config.model_type,
)
def test_plain_decoders_are_packed(config: PreTrainedConfig) -> None:
    config.attention_dropout = 0.0
    assert packing_refusal(config) is None


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (MistralConfig(sliding_window=4096), "window of 4096 tokens"),
        (Gemma3TextConfig(), "layers of type sliding_attention"),
        (Qwen2Config(use_sliding_window=True, max_window_layers=2), "layers of type sliding_attention"),
        (AutoConfig.for_model("qwen3_next"), "recurrent state"),
        (MambaConfig(), "recurrent state"),
        (T5Config(), "encoder-decoder"),
        (BloomConfig(), "cannot be replaced"),
        (AutoConfig.for_model("qwen2_vl"), "several modalities"),
        (AutoConfig.for_model("deepseek_v3"), "latent attention"),
        (LlamaConfig(attention_dropout=0.1), "attention_dropout is 0.1"),
        (AutoConfig.for_model("qwen3_moe", output_router_logits=True), "balancing loss"),
        (LlamaConfig(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}), "longest row"),
    ],
    ids=lambda value: value.model_type if isinstance(value, PreTrainedConfig) else "",
)
def test_what_cannot_be_packed_is_refused_with_the_reason(config: PreTrainedConfig, why: str) -> None:
    refusal = packing_refusal(config)
    assert refusal is not None
    assert why in refusal
    assert refusal.endswith("rows are trained unpacked.")


def test_a_device_without_packed_attention_is_refused() -> None:
    assert "not for mps" in str(packing_refusal(LlamaConfig(), "mps"))


@pytest.mark.parametrize(("capability", "refused"), [((7, 5), True), ((8, 0), False), ((12, 0), False)])
def test_a_gpu_without_flash_attention_is_refused(
    capability: tuple[int, int], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    model = tiny_model()
    assert ("Ampere" in str(attach_scoring(model, torch.device("cuda")))) == refused  # before it is moved there
    assert (model.config._attn_implementation == PREFIX_TREE) != refused


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(rows=st.integers(1, 3), heads=st.integers(1, 2), groups=st.integers(2, 4), length=st.integers(1, 40))
@settings(max_examples=40)
def test_a_new_token_sees_what_transformers_shows_it(
    dtype: torch.dtype, rows: int, heads: int, groups: int, length: int
) -> None:
    generator = torch.Generator().manual_seed(length)
    query = torch.randn(rows, heads * groups, 1, 8, generator=generator)
    key, value = torch.randn(2, rows, heads, length + 5, 8, generator=generator).to(dtype)[:, :, :, :length]
    starts = torch.randint(0, length, (rows, 1, 1, 1), generator=generator)
    mask = torch.arange(length)[None, None, None] >= starts
    module = torch.nn.Module()
    module.num_key_value_groups = groups  # type: ignore[assignment]
    ours, _ = attention._attention(module, query.to(dtype), key, value, mask, scaling=0.3, sliding_window=None)
    theirs, _ = sdpa_attention_forward(module, query, key.float(), value.float(), mask, scaling=0.3)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours.float(), theirs, atol=0.03 if dtype == torch.bfloat16 else 1e-5, rtol=0)
