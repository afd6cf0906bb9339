"""Model shapes by name, to measure and plan without weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph.errors import ConfigError
from graph.models.hub_access import hub_options, unreachable_hint

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_QWEN: dict[str, Any] = {"model_type": "qwen2", "rope_theta": 1e6, "rms_norm_eps": 1e-6}

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512, "tie_word_embeddings": True,
    },
    "135m": {
        "model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576, "intermediate_size": 1536,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True,
    },
    "0.5b": _QWEN | {
        "num_hidden_layers": 24, "hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14,
        "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "1.5b": _QWEN | {
        "num_hidden_layers": 28, "hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12,
        "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "3b": _QWEN | {
        "num_hidden_layers": 36, "hidden_size": 2048, "intermediate_size": 11008, "num_attention_heads": 16,
        "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "7b": _QWEN | {
        "num_hidden_layers": 28, "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
    },
}  # fmt: skip
"""Llama shapes (`135m` is SmolLM2's), and the sizes of Qwen2.5."""


def config_of(spec: str) -> PreTrainedConfig:
    """The configuration of a model, without its weights.

    Args:
        spec: a name of `SHAPES`, a JSON file or folder with a configuration, or a name on the Hub; the official Qwen2.5
            models need no Hub.

    Raises:
        ConfigError: there is no such model or file, or it tells no configuration.
    """
    from transformers import AutoConfig

    if (shape := _known(spec)) is not None:
        kind = shape["model_type"]
        return AutoConfig.for_model(kind, max_position_embeddings=32768, **_without_kind(shape))
    if Path(spec).suffix == ".gguf":
        raise ConfigError(f"{spec} is a GGUF file; name the model's shape instead: {', '.join(SHAPES)}.")
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(spec, **hub_options(spec))
    except (OSError, ValueError) as error:
        reason = unreachable_hint(spec) or (str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise ConfigError(
            f"There is no configuration at {spec!r}: {reason} Name a folder, a config.json, or one of "
            f"{', '.join(SHAPES)}."
        ) from error
    return config


def _known(spec: str) -> dict[str, Any] | None:
    """The shape of this name, or of the Qwen2.5 model of this name."""
    if spec in SHAPES:
        return SHAPES[spec]
    name = spec.rpartition("/")[2].lower()
    parts = name.split("-")
    if parts[0] == "qwen2.5" and not Path(spec).exists():
        return next((SHAPES[part] for part in parts[1:] if part in SHAPES), None)
    return None


def _without_kind(shape: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in shape.items() if name != "model_type"}
