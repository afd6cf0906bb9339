"""Whether a model attends by the implementation that knows of shared prefixes (`training.update.attention`)."""

from __future__ import annotations

from typing import Any

from torch import nn

PREFIX_TREE = "prefix_tree"
"""The implementation's name in transformers."""


def shares_prefixes(model: nn.Module) -> bool:
    """Whether a causal model's attention takes a `prefix`, and a forest."""
    config: Any = model.config
    return config._attn_implementation == PREFIX_TREE  # type: ignore[no-any-return]
