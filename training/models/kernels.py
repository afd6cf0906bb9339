"""Fused GPU kernels for norms, rotary embedding and gated activation, by Liger (extra `kernels`), where installed.

They change no result but its rounding. The loss is left alone: ours scores trained positions only. Liger rebinds norms
and MLPs of the model at hand; rotary embedding it replaces for every model of that architecture in the process.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)

_LEFT_ALONE = ("cross_entropy", "fused_linear_cross_entropy")


def is_installed() -> bool:
    """Whether there is the package."""
    return find_spec("liger_kernel") is not None


def can_fuse() -> bool:
    """Whether there are a GPU and the package."""
    return torch.cuda.is_available() and is_installed()


def fuse_kernels(model: nn.Module, device: torch.device) -> bool:
    """Put fused kernels into a causal language model, PEFT-wrapped or not.

    Args:
        model: the model.
        device: where it will run; on a CPU it is left as it is.

    Returns:
        Whether there are any: a GPU, the package, and an architecture that it knows.
    """
    if device.type != "cuda" or not can_fuse():
        return False
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    unwrap: Callable[[], Any] = getattr(model, "get_base_model", lambda: model)
    causal = unwrap()
    apply = MODEL_TYPE_TO_APPLY_LIGER_FN.get(causal.config.model_type)
    if apply is None:
        logger.info("Liger has no kernels for %s models.", causal.config.model_type)
        return False
    apply(model=causal, **options_of(apply))
    return True


def options_of(apply: Callable[..., object]) -> dict[str, bool]:
    """What switches Liger's own losses off; its functions differ in which of them they know."""
    known = inspect.signature(apply).parameters
    return {name: False for name in _LEFT_ALONE if name in known}
