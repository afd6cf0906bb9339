"""Tiny models that have been taught replies: where the training of a test starts."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from tests.training.support.tiny_model import tiny_model, tiny_tokenizer
from training.rollouts.chat_tokens import ChatTokens

Pairs = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Ids of prompts, and of the replies to them without their end."""


def taught(
    path: Path, steps: int, pairs: Callable[[random.Random, ChatTokens], Pairs], template: str | None = None
) -> Path:
    """A tiny model in a folder, after so many steps on the pairs that are drawn for each.

    Args:
        path: the folder.
        steps: updates.
        pairs: draws the pairs of a step; each weighs the same.
        template: a chat template in place of the tiny model's own.
    """
    torch.manual_seed(0)
    model, tokenizer = tiny_model(seed=4, spread=0.05).train(), tiny_tokenizer()
    tokenizer.chat_template = template or tokenizer.chat_template
    chat = ChatTokens(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    chance = random.Random(0)
    for _ in range(steps):
        loss = torch.zeros(())
        drawn = pairs(chance, chat)
        for prompt, reply in drawn:
            said = [*reply, chat.end_of_turn]
            labels = torch.tensor([[-100] * len(prompt) + said])
            loss = loss + model(input_ids=torch.tensor([[*prompt, *said]]), labels=labels).loss / len(drawn)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
