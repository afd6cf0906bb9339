"""LoRA layers of a copy that only samples: three matrix products each, in the model's own type.

PEFT takes seven operations a layer, of which four are casts, sums and scalings, and on a GPU a decoding step is as long
as its operations are many. Merging adapters into the weights would take one, but loses what is learned: a bfloat16
weight of 0.02 has neighbours 1e-4 away, and the first updates of an adapter change it by less, so that the merged
policy would still be the old one. Here the adapter stays apart and is computed as the trainer computes it
(`training.models.precision`).
"""

from __future__ import annotations

from types import MethodType
from typing import Any

from torch import Tensor, nn

from training.models.policy import twin


def sampling_copy(model: nn.Module) -> nn.Module:
    """A copy of a model that samples fast on a GPU; its frozen weights are the model's own.

    `training.models.policy.copy_trained` keeps its adapters up to date.
    """
    copy = twin(model).requires_grad_(False)
    for layer in _plain_layers(copy):
        for module in (*layer.lora_A.values(), *layer.lora_B.values()):
            weight = module.weight.detach().to(layer.base_layer.weight.dtype)
            module.weight = nn.Parameter(weight, requires_grad=False)
        layer.forward = MethodType(_forward, layer)
    return copy


def _plain_layers(model: nn.Module) -> list[Any]:
    """LoRA layers without variants such as DoRA; others compute as ever."""
    from peft.tuners.lora.layer import Linear

    return [module for module in model.modules() if type(module) is Linear and not module.lora_variant]


def _forward(self: Any, x: Tensor) -> Tensor:
    """The base layer's output and all active adapters', without dropout or gradient."""
    result: Tensor = self.base_layer(x)
    for name in () if self.disable_adapters else self.active_adapters:
        if name in self.lora_A:
            low = nn.functional.linear(x, self.lora_A[name].weight)
            flat = result.view(-1, result.shape[-1])
            flat.addmm_(low.view(-1, low.shape[-1]), self.lora_B[name].weight.t(), alpha=self.scaling[name])
    return result
