"""Parsing of an agent's output: the answer, and the state for rewards.

The output is plain text, which is the answer, or JSON. A command may print more: a JSON object with an answer in the
last line counts alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tools.text import well_formed, well_formed_value
from training.rollouts.factory import value_at


def read_answer(text: str, path: str | None = None) -> tuple[str, dict[str, Any]]:
    """The answer, and the JSON object it was in, if any.

    Args:
        text: the output.
        path: path of the answer in the object; None: `answer`.
    """
    whole = text.strip()
    for candidate in dict.fromkeys((whole, whole.rpartition("\n")[2])):
        state = _object(candidate)
        answer = None if state is None else value_at(state, path or "answer")
        if state is not None and answer is not None:
            return (answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)), state
    return well_formed(whole), {}


def _object(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return dict(well_formed_value(value)) if isinstance(value, Mapping) else None
