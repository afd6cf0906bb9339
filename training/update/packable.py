"""Which models can be packed, judged by their configuration.

`training.update.packing_check` finds on first use what no configuration tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedConfig

_AMPERE = (8, 0)
"""The compute capability from which torch has flash attention."""


def packing_refusal(config: PreTrainedConfig, device: str = "cpu") -> str | None:
    """Why a model with this config cannot be packed, as a sentence; None if it can.

    Packing is right only where a token's output depends on its path alone and positions enter through `position_ids`:
    full causal attention in every layer, no state that runs along the sequence, no quantity taken over the batch.

    Args:
        config: the model's configuration.
        device: the type of the device that trains it.
    """
    reasons = (
        reason for test in (_device_refusal, _architecture_refusal, _option_refusal) for reason in test(config, device)
    )
    reason = next(reasons, None)
    return reason and f"{config.model_type} models cannot be packed here: {reason}; rows are trained unpacked."


def _device_refusal(config: PreTrainedConfig, device: str) -> Iterator[str]:
    if device not in ("cpu", "cuda"):
        yield f"there is packed attention for cpu and cuda, not for {device}"
    if device == "cpu" and not hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward"):
        yield f"torch {torch.__version__} lacks the CPU attention kernels that packing is built from"
    if device == "cuda" and torch.cuda.get_device_capability() < _AMPERE:
        yield "flash attention needs a GPU of the Ampere generation or a later one"


def _architecture_refusal(config: PreTrainedConfig, device: str) -> Iterator[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if config.is_encoder_decoder:
        yield "an encoder-decoder has two sequences"
    if config.get_text_config() is not config:
        yield "several modalities share its positions"
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if model_class is None:
        yield "transformers knows no causal language model of this type"
    elif getattr(model_class, "_is_stateful", False):
        yield "a recurrent state runs along the sequence"
    elif not model_class._supports_attention_backend:
        yield "its attention cannot be replaced"
    unusual = sorted(set(getattr(config, "layer_types", None) or ()) - {"full_attention"})
    if unusual:
        yield f"it has layers of type {', '.join(unusual)}"
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        yield f"its attention slides over a window of {config.sliding_window} tokens"
    if getattr(config, "attention_chunk_size", None):
        yield "its attention is cut into chunks"
    if getattr(config, "kv_lora_rank", None):
        yield "its keys and values differ in width (latent attention)"
    if getattr(config, "alibi", False):
        yield "distance enters its attention as a bias"


def _option_refusal(config: PreTrainedConfig, device: str) -> Iterator[str]:
    if getattr(config, "attention_dropout", 0.0):
        yield f"attention_dropout is {config.attention_dropout}, and a shared token would be dropped for all rows alike"
    if getattr(config, "output_router_logits", False):
        yield "output_router_logits asks for a balancing loss, which is taken over the tokens of a batch"
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("dynamic", "longrope"):
        yield f"{rope['rope_type']} rotary embeddings depend on the longest row of a batch"
