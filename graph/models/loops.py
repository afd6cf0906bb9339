"""Replies that go round in circles: at temperature 0 small models repeat a phrase until all their tokens are used up.

On a laptop that takes minutes. The embedded model's replies are therefore cut off after some rounds, and it is asked
once more with a sampler that avoids what was just said.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage

log = logging.getLogger(__name__)

REPETITION: Final = "repetition"
"""The `finish_reason` of a reply that was cut off."""
ROUNDS: Final = 10
"""How often a phrase has to be said in a row."""
_LEAST: Final = 240
"""Characters that the rounds have to fill: a few short words may be repeated on purpose."""
_LONGEST: Final = 160
"""Characters of a phrase."""
_AVOIDING: Final = {"dry_multiplier": 0.8, "dry_allowed_length": 10, "dry_penalty_last_n": 256}
"""llama.cpp's sampler against repetition, for sequences of more than ten tokens."""


def repeats(text: str) -> bool:
    """Whether a text ends with the same words over and over. Rows of figures and signs may do so."""
    for period in range(1, min(_LONGEST, len(text) // ROUNDS) + 1):
        size = max(_LEAST, ROUNDS * period)
        if len(text) >= size and text[-size:-period] == text[period - size :]:
            return any(character.isalpha() for character in text[-period:])
    return False


def with_penalty(model: BaseChatModel, reply: AIMessage) -> BaseChatModel | None:
    """The model with the sampler against repetition, if its reply was cut off for that; else None."""
    extra: dict[str, Any] | None = getattr(model, "extra_body", None)
    cut_off = reply.response_metadata.get("finish_reason") == REPETITION
    if extra is None or not cut_off or _AVOIDING.items() <= extra.items():
        return None
    log.info("The model repeated itself; it is asked once more with a penalty on that.")
    return model.model_copy(update={"extra_body": {**extra, **_AVOIDING}})
