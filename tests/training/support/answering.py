"""A tiny model that answers a question with one of two words, at random."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from tests.training.support.tiny_model import tiny_model, tiny_tokenizer
from tests.training.support.toy import NAMES
from training.rollouts.chat_tokens import ChatTokens


def answering_policy(path: Path, steps: int = 80) -> Path:
    """The model, in a folder."""
    torch.manual_seed(0)
    model, tokenizer = tiny_model(seed=4, spread=0.05).train(), tiny_tokenizer()
    chat = ChatTokens(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    chance = random.Random(0)
    for _ in range(steps):
        loss = torch.zeros(())
        for _ in range(4):
            prompt = chat.opening([("user", f"Number {chance.randrange(100)}")])
            said = [*chat.encoded(chance.choice(NAMES)), chat.end_of_turn]
            labels = torch.tensor([[-100] * len(prompt) + said])
            loss = loss + model(input_ids=torch.tensor([prompt + said]), labels=labels).loss / 4
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
