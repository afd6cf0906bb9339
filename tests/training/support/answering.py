"""A tiny model that answers a question with one of two words, at random."""

from __future__ import annotations

import random
from pathlib import Path

from tests.training.support.taught import Pairs, taught
from tests.training.support.toy import NAMES
from training.rollouts.chat_tokens import ChatTokens


def answering_policy(path: Path, steps: int = 80) -> Path:
    """The model, in a folder."""

    def pairs(chance: random.Random, chat: ChatTokens) -> Pairs:
        def pair() -> tuple[list[int], list[int]]:
            prompt = chat.opening([("user", f"Number {chance.randrange(100)}")])
            return prompt, chat.encoded(chance.choice(NAMES))

        return [pair() for _ in range(4)]

    return taught(path, steps, pairs)
