"""Fused kernels: which options switch the losses off, and on a GPU the same gradient with them as without."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.training.support.sample_rows import row
from tests.training.support.tiny_model import tiny_model
from training.models.kernels import fuse_kernels, options_of
from training.update.logprobs import attach_scoring, forward_terms
from training.update.packing import pack


def test_only_losses_that_a_function_knows_are_switched_off() -> None:
    def both(rope: bool = True, cross_entropy: bool = False, fused_linear_cross_entropy: bool = True) -> None: ...

    def neither(rope: bool = True) -> None: ...

    assert options_of(both) == {"cross_entropy": False, "fused_linear_cross_entropy": False}
    assert options_of(neither) == {}


def test_a_model_on_the_cpu_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.models.kernels.can_fuse", lambda: True)  # there may be a GPU that is not used
    model = tiny_model()
    before = [type(module) for module in model.modules()]
    assert not fuse_kernels(model, torch.device("cpu"))
    assert [type(module) for module in model.modules()] == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_fused_kernels_give_the_same_gradient() -> None:
    pytest.importorskip("liger_kernel", reason="the extra `kernels` is not installed")
    torch.manual_seed(1)
    plain = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=128, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2,
        )
    ).cuda()  # fmt: skip
    fused = copy.deepcopy(plain)
    assert fuse_kernels(fused, fused.device)
    (batch,) = pack([row(list(range(1, 90)))], 1000)
    for model in (plain, fused):
        attach_scoring(model)
        forward_terms(model, batch).logprobs.sum().backward()
    for (name, one), other in zip(plain.named_parameters(), fused.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert (one.grad - other.grad).norm() < 1e-3 * one.grad.norm(), name
