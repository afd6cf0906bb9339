"""Adapters that compute in the type of the weights they are added to.

PEFT keeps a LoRA adapter in float32 beside a bfloat16 model, and casts every activation that reaches it to float32 and
back: on a GPU nearly half of an update goes into that. The float32 weights are wanted, as masters for the optimizer,
whose small steps bfloat16 would round away; the float32 activations are not. So the adapter's weights are cast instead,
a few thousand numbers a layer, and gradients arrive in float32 all the same. Plain LoRA layers do so by themselves
(`training.models.fused_adapters`); this is for all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from training.models.fused_adapters import all_fused


def compute_dtype(model: nn.Module) -> torch.dtype | None:
    """The half-precision type of frozen weights beside which float32 weights are trained; None in other cases."""
    frozen = {p.dtype for p in model.parameters() if not p.requires_grad and p.dtype.is_floating_point}
    trained = {p.dtype for p in model.parameters() if p.requires_grad}
    half = frozen & {torch.bfloat16, torch.float16}
    return half.pop() if len(half) == 1 and trained == {torch.float32} else None


@contextmanager
def in_model_precision(model: nn.Module) -> Iterator[None]:
    """Inside, forward *and backward* passes compute adapters in the model's own type.

    It must span the backward pass too: gradient checkpointing computes the forward pass again there.

    Args:
        model: wrapped or not; one without an adapter, or all of one type, computes as ever, and so does one whose
            adapters are fused (`training.models.fused_adapters`), which need no help.
    """
    dtype = compute_dtype(model)
    if dtype is None or all_fused(model):
        yield
        return
    from peft.helpers import disable_input_dtype_casting

    device = next(model.parameters()).device.type
    # Without autocast's cache: a cast weight that it keeps would hold the graph of an earlier micro-batch.
    with disable_input_dtype_casting(model), torch.autocast(device, dtype=dtype, cache_enabled=False):
        yield
