"""Adapters of a copy that samples: as the trainer computes them, in fewer operations, and nothing lost."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training.support.tiny_model import tiny_model
from training.engines import in_process
from training.engines.base import Sampling
from training.engines.in_process import TransformersEngine
from training.models.adapters import play
from training.models.fused_adapters import all_fused, fuse_adapters, sampling_copy
from training.models.policy import copy_trained
from training.models.precision import in_model_precision
from training.update.logprobs import attach_scoring, completion_logprobs

torch.set_num_threads(1)

IDS = torch.arange(10, 50)[None]


def policy(dtype: torch.dtype, *names: str, **settings: Any) -> Any:
    torch.manual_seed(5)
    lora = LoraConfig(r=4, lora_alpha=12, target_modules="all-linear", init_lora_weights=False, **settings)
    model = get_peft_model(tiny_model(3).to(dtype), lora)  # type: ignore[arg-type]
    for name in names:
        model.add_adapter(name, lora)
    return model.eval()


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    made: Tensor = model(IDS).logits.float()
    return made


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_in_float32_the_copy_computes_what_the_model_computes() -> None:
    model = policy(torch.float32)
    sampler = sampling_copy(model)
    assert sum("forward" in vars(module) for module in sampler.modules()) == 14
    assert relative(logits(sampler), logits(model)) < 1e-6


def test_in_bfloat16_the_copy_is_as_near_as_the_trainer_to_exact_adapters() -> None:
    model = policy(torch.bfloat16)
    exact = logits(model)  # PEFT computes adapters in float32
    with in_model_precision(model):
        trainers = relative(logits(model), exact)
    sampler = sampling_copy(model)
    assert {parameter.dtype for parameter in sampler.parameters()} == {torch.bfloat16}
    assert relative(logits(sampler), exact) < 1.5 * trainers + 1e-3


def test_a_young_adapter_survives_that_would_be_lost_in_merged_weights() -> None:
    model = policy(torch.bfloat16)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(parameter.sign() * 1e-4)  # ten updates at a learning rate of 1e-5
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    change = layer.get_delta_weight("default").detach()
    x = torch.randn(64, 32, dtype=torch.bfloat16)
    wanted = x.float() @ change.T.float()

    merged = (layer.base_layer.weight.float() + change).to(torch.bfloat16)
    assert relative(merged.float() - layer.base_layer.weight.float(), change) > 0.5
    fused = sampling_copy(model).base_model.model.model.layers[0].mlp.up_proj  # type: ignore[union-attr]
    low = torch.nn.functional.linear(x, fused.lora_A["default"].weight)  # type: ignore[union-attr, index]
    kept = (low @ fused.lora_B["default"].weight.T).float() * fused.scaling["default"]  # type: ignore[union-attr, index]
    assert relative(kept, wanted) < 0.02


class Operations(TorchDispatchMode):
    """Counts operations that compute something of at least a size."""

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        self.names: list[str] = []
        self.size = size

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        views = ("view", "t.", "transpose", "expand", "slice", "select", "unsqueeze", "detach", "alias")
        result = function(*args, **(kwargs or {}))
        if not any(word in str(function) for word in views) and result.numel() >= self.size:
            self.names.append(str(function))
        return result


def test_a_layer_takes_three_products() -> None:
    model = policy(torch.bfloat16)
    names = []
    for each in (model, sampling_copy(model)):
        layer = each.base_model.model.model.layers[0].mlp.up_proj
        x = torch.zeros(64, 1, 32, dtype=torch.bfloat16)
        with torch.no_grad(), Operations() as operations:
            layer(x)
        names.append(operations.names)
    assert len(names[1]) == 3, names[1]
    assert len(names[0]) > 2 * len(names[1]), names[0]


def gradients(model: nn.Module) -> Tensor:
    model.zero_grad()
    (model(IDS).logits.float() ** 2).sum().backward()
    parts = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert {part.dtype for part in parts} == {torch.float32}
    assert len(parts) == 28, "two for each of seven layers in two blocks"
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_trained_layers_compute_what_peft_computes_and_give_its_gradient(checkpointing: bool) -> None:
    model = policy(torch.float32).train()
    if checkpointing:
        model.base_model.model.gradient_checkpointing_enable({"use_reentrant": False})
    wanted, gradient = logits(model), gradients(model)
    assert not all_fused(model)
    fuse_adapters(model)
    assert all_fused(model)
    assert relative(logits(model), wanted) < 1e-6
    assert relative(gradients(model), gradient) < 1e-5
    with model.disable_adapter():
        without = logits(model)
    assert relative(without, wanted) > 1e-3


def test_in_half_precision_a_trained_layer_is_as_near_to_the_exact_gradient_as_pefts() -> None:
    model = policy(torch.bfloat16)
    exact = gradients(copy.deepcopy(model).float())
    with in_model_precision(model):
        pefts = relative(gradients(model), exact)
    fuse_adapters(model)
    assert relative(gradients(model), exact) < 1.2 * pefts


def test_a_training_pass_of_a_layer_touches_activations_in_products_alone() -> None:
    model = policy(torch.bfloat16)
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    others = []
    for _ in range(2):
        x = torch.zeros(64, layer.in_features, dtype=torch.bfloat16, requires_grad=True)
        gradient = torch.zeros(64, layer.out_features, dtype=torch.bfloat16)
        with in_model_precision(model), Operations(x.numel()) as operations:
            layer(x).backward(gradient)
        others.append([name for name in operations.names if "mm" not in name])
        fuse_adapters(model)
    assert len(others[0]) > 2, "PEFT adds, scales, and adds gradients"
    assert others[1] == []


def test_float32_weights_can_be_trained_under_autocast() -> None:
    model = policy(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wanted = logits(model)
        fuse_adapters(model)
        assert torch.equal(logits(model), wanted)


def test_a_copy_of_a_fused_model_computes_with_its_own_weights() -> None:
    model = policy(torch.float32)
    fuse_adapters(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    assert relative(logits(other), logits(model)) > 0.1


def test_an_adapter_that_is_not_trained_is_sampled_from_too() -> None:
    model = policy(torch.bfloat16).requires_grad_(False)
    assert relative(logits(sampling_copy(model)), logits(model)) < 0.05
    assert {p.dtype for name, p in model.named_parameters() if "lora_" in name} == {torch.float32}


def test_the_copy_follows_updates_and_roles() -> None:
    model = policy(torch.float32, "planner", "judge")
    model.set_requires_grad(["planner", "judge"])
    sampler = sampling_copy(model)
    for role in ("judge", "planner"):
        play(model, role)
        play(sampler, role)
        assert relative(logits(sampler), logits(model)) < 1e-6
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    assert relative(logits(sampler), logits(model)) > 1e-3
    copy_trained(model, sampler)
    assert relative(logits(sampler), logits(model)) < 1e-6


def test_other_kinds_of_adapters_compute_as_ever() -> None:
    model = policy(torch.float32, use_dora=True)
    sampler = sampling_copy(model)
    assert not any("forward" in vars(module) for module in sampler.modules())
    assert relative(logits(sampler), logits(model)) < 1e-6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
async def test_on_a_gpu_many_rows_carry_the_log_probabilities_they_were_drawn_with() -> None:
    model = policy(torch.bfloat16).cuda()
    attach_scoring(model)
    engine = TransformersEngine(model, frozenset({2}))
    prompts = [list(range(10, 40 + row % 3)) for row in range(64)]
    replies = await asyncio.gather(
        *(engine.generate(ids, Sampling(0.8, 16), seed=row, run=str(row)) for row, ids in enumerate(prompts))
    )
    gaps = [
        abs(drawn - scored)
        for ids, reply in zip(prompts, replies, strict=True)
        for drawn, scored in zip(reply.logprobs, completion_logprobs(model, ids, reply.token_ids, 0.8), strict=True)
    ]
    assert sum(gaps) / len(gaps) < 0.05
    assert len({reply.token_ids for reply in replies}) > 32
    await engine.aclose()


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(in_process, "_on_gpu", lambda model: True)


async def test_an_engine_on_a_gpu_samples_from_the_copy_and_tells_its_log_probabilities(
    on_gpu: Callable[[], None],
) -> None:
    on_gpu()
    model = policy(torch.float32)
    attach_scoring(model)
    engine = TransformersEngine(model, frozenset({2}))
    prompt = list(range(10, 40))
    for version in range(2):
        await engine.sync(version)
        reply = await engine.generate(prompt, Sampling(0.8, 8), seed=version, run="a")
        scored = completion_logprobs(model, prompt, reply.token_ids, 0.8)
        assert list(reply.logprobs) == pytest.approx(scored, abs=1e-4)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.add_(0.05)
    assert engine._copy is not None
    await engine.aclose()
