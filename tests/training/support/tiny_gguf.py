"""A GGUF file of a tiny model's shape and tokenizer, written by the `gguf` package; its weights are all zero.

And adapters that change what a tiny model says.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, get_tensor_name_map
from gguf.constants import MODEL_ARCH_NAMES
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tests.training.support.tiny_model import tiny_model, tiny_tokenizer
from training.models.policy import with_adapter


def tiny_llama(seed: int = 0) -> LlamaForCausalLM:
    """The tiny model in the architecture whose rotary embedding llama.cpp lays out differently."""
    import torch

    known = tiny_model().config
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "num_key_value_heads", "max_position_embeddings", "eos_token_id")  # fmt: skip
    torch.manual_seed(seed)
    settings = {name: getattr(known, name) for name in names}
    config = LlamaConfig(**settings, bos_token_id=None, initializer_range=0.2, tie_word_embeddings=False)
    return LlamaForCausalLM(config).eval()


def tiny_adapter(model: PreTrainedModel, folder: Path, *, size: float = 0.3, seed: int = 0) -> nn.Module:
    """The model with an adapter of all its matrices, which is saved to a folder as after a training."""
    import torch

    adapted = with_adapter(model, rank=4, alpha=6, targets="all-linear", seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.copy_(size * torch.randn(weight.shape, generator=generator))
    adapted.eval().save_pretrained(folder)  # type: ignore[operator]
    return adapted


def tiny_gguf(model: PreTrainedModel, arch: str, path: Path, template: str | None = None) -> Path:
    """What a model's publisher would offer, but for the weights; `template` replaces the tokenizer's own."""
    config, tokenizer = model.config, tiny_tokenizer()
    writer = GGUFWriter(str(path), arch)
    writer.add_name("Tiny")
    writer.add_license("cc0-1.0")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(0)
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    tokens += [f"[unused{n}]" for n in range(config.vocab_size - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    control = set(tokenizer.get_added_vocab())
    writer.add_token_types([3 if token in control else 5 if "[unused" in token else 1 for token in tokens])
    import json

    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template or tokenizer.chat_template)
    names = get_tensor_name_map(next(k for k, v in MODEL_ARCH_NAMES.items() if v == arch), config.num_hidden_layers)
    for name, value in model.state_dict().items():
        stem, _, ending = name.rpartition(".")
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        kind = np.float32 if value.dim() < 2 else np.float16
        writer.add_tensor(f"{names.get_name(stem)}.{ending}", np.zeros(tuple(value.shape), dtype=kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
