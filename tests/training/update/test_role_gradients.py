"""Two roles with an adapter each: the gradient of a packed update is that of each role trained alone and unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.support.tiny_model import tiny_model
from tests.training.update.test_logprobs import group_of_rollouts
from training.algo.settings import ObjectiveSettings
from training.models.adapters import adapter_parameters, play
from training.models.policy import with_adapter, without_adapter
from training.update.gradient import Update, together
from training.update.logprobs import attach_scoring, forward_terms
from training.update.packing import MicroBatch, pack, pad
from training.update.rows import Row

TEMPERATURE = 0.8


def policy(names: Sequence[str], *, checkpointing: bool = False) -> nn.Module:
    base = tiny_model(3, 0.2)
    base.enable_input_require_grads()
    if checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    model = with_adapter(base, rank=4, alpha=8, targets="all-linear", seed=0, names=names)
    for name in names:
        generator = torch.Generator().manual_seed(sum(map(ord, name)))
        with torch.no_grad():
            for parameter in adapter_parameters(model, name):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    attach_scoring(model)
    return model.train()


def rows(role: str, seed: int) -> list[Row]:
    """As a group of rollouts, with tokens of their own behind a common beginning."""
    shift = (seed * 37) % 300
    return [
        replace(each, role=role, input_ids=[*each.input_ids[:9], *(each.input_ids[9:] + shift) % 500])
        for each in group_of_rollouts()
    ]


def gradients(model: nn.Module, name: str) -> Tensor:
    parts = [parameter.grad for parameter in adapter_parameters(model, name)]
    return torch.cat([part.flatten() for part in parts if part is not None] or [torch.zeros(0)])


def accumulated(model: Any, batches: Sequence[MicroBatch]) -> dict[str, float]:
    def reference(batch: MicroBatch) -> Tensor:
        with torch.no_grad(), without_adapter(model):
            return forward_terms(model, batch, TEMPERATURE, entropies=False).logprobs

    update = Update(model, ObjectiveSettings(beta=0.1), TEMPERATURE, reference)
    sums = update.accumulate(batches, Tensor.backward, sync=lambda last: nullcontext())
    return {**{role: part.loss for role, part in sums.items()}, "": together(sums.values()).loss}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_packed_update_is_that_of_each_role_alone_and_unpacked(checkpointing: bool) -> None:
    names = ("planner", "solver")
    step = {"planner": rows("planner", 1), "solver": rows("solver", 2)}
    both = policy(names, checkpointing=checkpointing)
    batches = pack([row for pair in zip(*step.values(), strict=True) for row in pair], 150)
    assert [batch.role for batch in batches] == sorted(batch.role for batch in batches)
    assert len(batches) > 2
    losses = accumulated(both, batches)
    for role in names:
        alone = policy((role,))
        losses[""] -= (own := accumulated(alone, pad(step[role], 10_000))[role])
        assert losses[role] == pytest.approx(own, rel=1e-4)
        expected, found = gradients(alone, role), gradients(both, role)
        assert expected.abs().max() > 0
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))
    assert losses[""] == pytest.approx(0.0, abs=1e-5)


def test_all_adapters_stay_trainable_whoever_plays() -> None:
    model = policy(("planner", "solver"))
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert {name.split(".")[-2] for name in trainable} == {"planner", "solver"}
    play(model, "solver")
    with without_adapter(model):
        pass
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == trainable
    ids = torch.arange(9)[None]
    solved = model(ids).logits
    play(nn.DataParallel(model), "planner")  # whatever a trainer wraps around it
    assert not torch.equal(model(ids).logits, solved)
    play(model, "solver")
    assert torch.equal(model(ids).logits, solved)
