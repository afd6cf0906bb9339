"""Adapters in the model's own type: no activation is converted for them, and gradients stay near the exact ones."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.training.update.test_logprobs import group_of_rollouts
from training.algo.settings import ObjectiveSettings
from training.models.fused_adapters import fuse_adapters
from training.models.precision import compute_dtype, in_model_precision
from training.update.gradient import Update
from training.update.logprobs import attach_scoring, forward_terms
from training.update.packing import pack

TOKENS = 37
"""No other dimension of the model has this size, so a tensor that has it is an activation."""


def policy(*, lora: bool = True, checkpointing: bool = False) -> nn.Module:
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.2, tie_word_embeddings=True,
    )  # fmt: skip
    causal = Qwen2ForCausalLM(config).bfloat16()
    causal.enable_input_require_grads()
    if checkpointing:
        causal.gradient_checkpointing_enable({"use_reentrant": False})
    if not lora:
        return causal.requires_grad_(False)
    return get_peft_model(causal, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))


class Conversions(TorchDispatchMode):
    """Counts the activations that change their floating-point type."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if "_to_copy" in str(func) and TOKENS in args[0].shape and args[0].dtype != result.dtype:
            self.count += args[0].is_floating_point()
        return result


def conversions(model: nn.Module, context: AbstractContextManager[None]) -> int:
    ids = torch.arange(TOKENS)[None]
    with context, Conversions() as counted:
        model(input_ids=ids, use_cache=False).logits.float().sum().backward()
    return counted.count


def test_an_adapter_converts_no_activation() -> None:
    plain = conversions(policy(lora=False), nullcontext())
    model = policy()
    assert conversions(model, in_model_precision(model)) == plain
    assert conversions(model, nullcontext()) > 2 * plain, "what PEFT does by itself"


def gradient(model: nn.Module, context: AbstractContextManager[None]) -> Tensor:
    rows = group_of_rollouts()
    with context:
        for batch in pack(rows, 10_000):
            weights = torch.tensor(batch.terms.weights * batch.terms.advantages, dtype=torch.float32)
            (weights * forward_terms(model, batch, 0.7).logprobs).sum().backward()
    parts = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    assert {part.dtype for part in parts} == {torch.float32}
    return torch.cat(parts)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_stay_near_the_exact_ones(checkpointing: bool) -> None:
    model = policy(checkpointing=checkpointing)
    exact = copy.deepcopy(model).float()
    converted = copy.deepcopy(model)
    for one in (model, exact, converted):
        assert attach_scoring(one) is None
    true = gradient(exact, nullcontext())
    error = (gradient(model, in_model_precision(model)) - true).norm() / true.norm()
    assert error < 1.5 * (gradient(converted, nullcontext()) - true).norm() / true.norm()
    assert error < 0.02


def test_an_update_computes_in_the_models_precision() -> None:
    model = policy()
    assert attach_scoring(model) is None
    seen = []
    adapter = next(module for name, module in model.named_modules() if name.endswith("lora_A.default"))
    adapter.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    update = Update(model, ObjectiveSettings("ppo", beta=0.0), 0.7)
    batches = pack(group_of_rollouts(), 10_000)
    update.accumulate(batches, Tensor.backward, sync=lambda last: nullcontext())
    update.scores(batches[0])
    assert set(seen) == {(torch.bfloat16, torch.bfloat16)}


def test_other_models_compute_as_ever() -> None:
    assert compute_dtype(policy()) == torch.bfloat16
    assert compute_dtype(policy(lora=False)) is None
    assert compute_dtype(policy().float()) is None
    whole = policy(lora=False).requires_grad_(True)
    assert compute_dtype(whole) is None
    with in_model_precision(whole):
        assert not torch.is_autocast_enabled("cpu")


class Readings(TorchDispatchMode):
    """Names operations that wait for the device, to tell the host a value or a size."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in str(func) for word in ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal.")):
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("objective", ["ppo", "gspo", "cispo"])
def test_an_update_lets_no_device_wait_for_the_host(objective: str) -> None:
    model = policy()
    fuse_adapters(model)
    assert attach_scoring(model) is None
    update = Update(model, ObjectiveSettings(objective, beta=0.0), 0.7)
    with Readings() as readings:
        sums = update.accumulate(pack(group_of_rollouts(), 300), Tensor.backward, sync=lambda last: nullcontext())
    assert readings.names == []
    assert sum(part.sums["terms"] for part in sums.values()) > 0
