"""Tokenizers with the chat templates of well-known models: TRL keeps their texts."""

from __future__ import annotations

import re
from pathlib import Path

import trl
from transformers import PreTrainedTokenizerFast

from tests.training.support.tiny_model import tiny_tokenizer

_SPECIAL = re.compile(r"<\|[a-z_]+\|>|<turn\|>|<\|turn>")
_MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


def template_text(name: str) -> str:
    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def template_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with a model's template and control tokens; those of calls and thinking are not special."""
    tokenizer = tiny_tokenizer()
    text = template_text(name)
    tokenizer.chat_template = text
    special = sorted({token for token in _SPECIAL.findall(text) if "tool_call" not in token})
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.add_tokens([mark for mark in _MARKS if mark in text])
    tokenizer.bos_token = "<|endoftext|>"
    return tokenizer
