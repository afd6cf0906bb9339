"""LoRA layers in few operations, in the model's own type.

PEFT computes a layer in seven operations, of which four are casts, sums and scalings that pass over whole activations;
autograd adds as many. On a GPU a tenth of an update goes into them, and a decoding step is as long as its operations
are many. Here a layer is three matrix products, of which the last adds its result to the base layer's as it goes, and
its gradient five.

Merging adapters into the weights would take one product, but loses what is learned: a bfloat16 weight of 0.02 has
neighbours 1e-4 away, and the first updates of an adapter change it by less, so that the merged policy would still be
the old one.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from training.models.policy import twin


def fuse_adapters(model: nn.Module) -> None:
    """Makes the plain LoRA layers of a model compute as above, in training too.

    Plain are layers over a frozen `nn.Linear`, without dropout, bias or variants such as DoRA; others compute as ever.
    Their weights stay as they are, in float32 beside a model of half precision, and so do their gradients.
    """
    for layer in _plain_layers(model):
        layer.forward = MethodType(_forward, layer)


def sampling_copy(model: nn.Module) -> nn.Module:
    """A copy of a model that samples fast on a GPU; its frozen weights are the model's own.

    Its adapters have the model's own type, so that no step casts them. `training.models.policy.copy_trained` keeps
    them up to date.
    """
    copy = twin(model).requires_grad_(False)
    fuse_adapters(copy)
    for layer in _plain_layers(copy):
        for module in (*layer.lora_A.values(), *layer.lora_B.values()):
            weight = module.weight.detach().to(layer.base_layer.weight.dtype)
            module.weight = nn.Parameter(weight, requires_grad=False)
    return copy


def all_fused(model: nn.Module) -> bool:
    """Whether `fuse_adapters` has taken every adapter of a model, wrapped or not."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapters = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    return all(getattr(vars(layer).get("forward"), "__func__", None) is _forward for layer in adapters)


def _plain_layers(model: nn.Module) -> list[Any]:
    from peft.tuners.lora.layer import Linear

    return [module for module in model.modules() if type(module) is Linear and _is_plain(module)]


def _is_plain(layer: Any) -> bool:
    base = layer.base_layer
    dropout = any(getattr(each, "p", 0.0) for each in layer.lora_dropout.values())
    bias = any(module.bias is not None for module in layer.lora_B.values())
    trained = any(parameter.requires_grad for parameter in base.parameters())
    return type(base) is nn.Linear and not (trained or layer.lora_variant or dropout or bias)


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    names = [] if self.disable_adapters else [name for name in self.active_adapters if name in self.lora_A]
    if len(names) != 1 or self.merged or args or kwargs or _autocast_differs(x.device.type, self.base_layer.weight):
        unfused: Tensor = type(self).forward(self, x, *args, **kwargs)
        return unfused
    [name] = names
    base, a, b = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
    out: Tensor = _LoraLinear.apply(x, base.weight, base.bias, a, b, self.scaling[name])  # type: ignore[no-untyped-call]
    return out


def _autocast_differs(device: str, weight: Tensor) -> bool:
    """Whether autocast would compute in another type than that of the weights, as in training float32 weights."""
    return torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) != weight.dtype


class _LoraLinear(torch.autograd.Function):
    """x W' + bias + scale (x A') B' of frozen W (O, I) and bias (O,), and trained A (R, I) and B (O, R)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        flat, near_a, near_b = x.reshape(-1, x.shape[-1]).to(weight.dtype), a.to(weight.dtype), b.to(weight.dtype)
        low = nn.functional.linear(flat, near_a)
        out = nn.functional.linear(flat, weight, bias)
        out.addmm_(low, near_b.t(), alpha=scale)
        ctx.save_for_backward(flat, low, weight, near_a, near_b)
        ctx.scale, ctx.dtype = scale, a.dtype
        return out.view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        flat, low, weight, a, b = ctx.saved_tensors
        out_grad = grad.reshape(-1, grad.shape[-1])
        low_grad = (out_grad @ b).mul_(ctx.scale)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = (out_grad @ weight).addmm_(low_grad, a).view(*grad.shape[:-1], flat.shape[-1])
        d_a = (low_grad.t() @ flat).to(ctx.dtype)
        d_b = (out_grad.t() @ low).to(ctx.dtype).mul_(ctx.scale)
        return d_x, None, None, d_a, d_b, None
