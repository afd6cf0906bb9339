"""Operations of a transformer's passes, and data sheets of accelerators.

A multiply-add counts as two operations. A forward pass costs 2 operations for each weight of a linear layer and token,
4 for each pair of a token and a token it sees (scores and values, per head dimension), and 2 for each weight
of the head and *scored* position. A backward pass through frozen weights costs the same again (gradients of activations
alone), through trained ones twice; through attention twice. *Model* operations are forward and backward. *Hardware*
operations also include what is recomputed: layers by gradient checkpointing, and a trained head; a frozen one is not,
since its gradient is found in the forward pass (`update.logprobs`). Utilisation refers to model operations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graph.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Shape:
    """The sizes of a dense decoder."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool

    @property
    def layer_weights(self) -> int:
        """Weights of all linear layers but the head."""
        attention = 2 * self.hidden * self.head_size * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def head_weights(self) -> int:
        """Weights of the head."""
        return self.hidden * self.vocabulary

    @property
    def weights(self) -> int:
        """All weights, without norms and biases."""
        return self.layer_weights + self.head_weights * (1 if self.tied else 2)

    @property
    def kv_values(self) -> int:
        """Values in the KV cache per token."""
        return 2 * self.layers * self.kv_heads * self.head_size

    def adapter_weights(self, rank: int) -> int:
        """Weights of a LoRA adapter on all linear layers but the head."""
        query, kv = self.heads * self.head_size, self.kv_heads * self.head_size
        sides = 2 * (self.hidden + query) + 2 * (self.hidden + kv) + 3 * (self.hidden + self.intermediate)
        return self.layers * rank * sides


def shape_of(config: PreTrainedConfig) -> Shape:
    """The shape of a dense decoder.

    Raises:
        ConfigError: the model is a mixture of experts or otherwise built differently.
    """
    if any(getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        raise ConfigError(f"{config.model_type} is a mixture of experts, which cannot be planned yet.")
    try:
        heads = int(config.num_attention_heads)
        return Shape(
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
            vocabulary=config.vocab_size,
            tied=bool(config.tie_word_embeddings),
        )
    except AttributeError as error:
        raise ConfigError(f"{config.model_type} is not a standard decoder: {error}.") from None


def known_shape(config: PreTrainedConfig) -> Shape | None:
    """The shape of a model, or None where `shape_of` knows none."""
    try:
        return shape_of(config.get_text_config())
    except ConfigError:
        return None


@dataclass(frozen=True)
class Operations:
    """Numbers of multiplications and additions."""

    forward: float
    model: float
    """Forward and backward."""
    hardware: float
    """Including recomputation."""


def operations(
    shape: Shape, tokens: float, pairs: float, scored: float, *, lora_rank: int, checkpointing: bool
) -> Operations:
    """The operations of an update; see the module's docstring.

    Args:
        shape: the model.
        tokens: computed positions.
        pairs: pairs of a position and one that it attends to, including itself.
        scored: positions that pass through the head.
        lora_rank: 0 trains all weights.
        checkpointing: whether layers are recomputed in the backward pass.
    """
    linear, head = 2.0 * shape.layer_weights * tokens, 2.0 * shape.head_weights * scored
    attention = 4.0 * shape.layers * shape.heads * shape.head_size * pairs
    adapter = 2.0 * shape.adapter_weights(lora_rank) * tokens if lora_rank else 0.0
    forward = linear + attention + adapter + head
    frozen = 1 if lora_rank else 2
    backward = frozen * (linear + head) + 2 * (attention + adapter)
    again = (0.0 if lora_rank else head) + (linear + attention + adapter if checkpointing else 0.0)
    return Operations(forward, forward + backward, forward + backward + again)


@dataclass(frozen=True)
class Accelerator:
    """The data sheet of a device."""

    operations: float
    """Dense bfloat16 operations per second (fp32 accumulation)."""
    bandwidth: float
    """Memory bandwidth in bytes per second."""
    memory: float
    """Memory in bytes."""


ACCELERATORS: dict[str, Accelerator] = {
    "H200": Accelerator(989e12, 4.8e12, 141e9),
    "H100": Accelerator(989e12, 3.35e12, 80e9),
    "A100-80GB": Accelerator(312e12, 2.04e12, 80e9),
    "A100-40GB": Accelerator(312e12, 1.56e12, 40e9),
    "L40S": Accelerator(362e12, 0.864e12, 48e9),
    "RTX 4090": Accelerator(165e12, 1.008e12, 24e9),
    "A10": Accelerator(125e12, 0.6e12, 24e9),
    "L4": Accelerator(121e12, 0.3e12, 24e9),
}
"""Published peaks of the makers' data sheets, SXM versions of H100, H200 and A100, without sparsity."""


def accelerator(name: str) -> Accelerator | None:
    """The data sheet of a device, by its name as a driver or a user spells it."""
    words = set(re.split(r"[\s_-]+", name.casefold()))
    names = [key for key in ACCELERATORS if set(re.split(r"[\s_-]+", key.casefold())) <= words]
    return ACCELERATORS[max(names, key=len)] if names else None
