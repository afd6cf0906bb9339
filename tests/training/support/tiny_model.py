"""A whole language model of a few thousand weights, with a real tokenizer and chat template."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from graph.prompts import StepForm, planner_opening
from tests.graph.conftest import double_tool, shout_tool

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@functools.cache
def _tokenizer_text() -> str:
    """A byte-level BPE trained on a planner's system prompt: every text is representable, our prompts are short."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=508,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    (prompt,) = planner_opening([double_tool, shout_tool], form=StepForm.DIRECT, can_finish=True, max_turns=3)
    tokenizer.train_from_iterator([str(prompt.content)] * 2, trainer)
    return str(tokenizer.to_str())


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_tokenizer_text()),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )


def tiny_model(seed: int = 0, spread: float = 0.1, context: int = 4096) -> Qwen2ForCausalLM:
    """A random Qwen2; a larger spread makes sharper distributions."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=spread,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tiny_tokenizer().convert_tokens_to_ids("<|im_end|>"),
    )
    return Qwen2ForCausalLM(config).eval()


def tiny_folder(path: Path, seed: int = 0) -> Path:
    """The model and tokenizer as a folder that `from_pretrained` reads."""
    tiny_model(seed).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path
