"""Adapters of a copy that samples: as the trainer computes them, in fewer operations, and nothing lost."""

from __future__ import annotations

import asyncio
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
from training.models.fused_adapters import sampling_copy
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
    copy = sampling_copy(model)
    assert sum("forward" in vars(module) for module in copy.modules()) == 14
    assert relative(logits(copy), logits(model)) < 1e-6


def test_in_bfloat16_the_copy_is_as_near_as_the_trainer_to_exact_adapters() -> None:
    model = policy(torch.bfloat16)
    exact = logits(model)  # PEFT computes adapters in float32
    with in_model_precision(model):
        trainers = relative(logits(model), exact)
    copy = sampling_copy(model)
    assert {parameter.dtype for parameter in copy.parameters()} == {torch.bfloat16}
    assert relative(logits(copy), exact) < 1.5 * trainers + 1e-3


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
    """Counts operations that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        views = ("view", "t.", "transpose", "expand", "slice", "select", "unsqueeze", "detach", "alias")
        if not any(word in str(function) for word in views):
            self.names.append(str(function))
        return function(*args, **(kwargs or {}))


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


def test_an_adapter_that_is_not_trained_is_sampled_from_too() -> None:
    model = policy(torch.bfloat16).requires_grad_(False)
    assert relative(logits(sampling_copy(model)), logits(model)) < 0.05
    assert {p.dtype for name, p in model.named_parameters() if "lora_" in name} == {torch.float32}


def test_the_copy_follows_updates_and_roles() -> None:
    model = policy(torch.float32, "planner", "judge")
    model.set_requires_grad(["planner", "judge"])
    copy = sampling_copy(model)
    for role in ("judge", "planner"):
        play(model, role)
        play(copy, role)
        assert relative(logits(copy), logits(model)) < 1e-6
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    assert relative(logits(copy), logits(model)) > 1e-3
    copy_trained(model, copy)
    assert relative(logits(copy), logits(model)) < 1e-6


def test_other_kinds_of_adapters_compute_as_ever() -> None:
    model = policy(torch.float32, use_dora=True)
    copy = sampling_copy(model)
    assert not any("forward" in vars(module) for module in copy.modules())
    assert relative(logits(copy), logits(model)) < 1e-6


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
