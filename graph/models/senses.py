"""What input a model takes besides text, as far as its profile says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from langchain_core.language_models import BaseChatModel, ModelProfile

from graph.chat import Kind

TEXT_ONLY: Final[ModelProfile] = {
    "image_inputs": False,
    "audio_inputs": False,
    "video_inputs": False,
    "pdf_inputs": False,
    "attachment": False,
}
"""The profile (LangChain's) of a model that reads text and nothing else."""

_FIELDS: Final[Mapping[Kind, str]] = {
    "picture": "image_inputs",
    "sound": "audio_inputs",
    "video": "video_inputs",
    "PDF file": "pdf_inputs",
    "file": "attachment",
}


def senses(model: BaseChatModel, kind: Kind) -> bool | None:
    """Whether a model takes this kind of input; None if only its server knows."""
    if kind == "text":
        return True
    value = (model.profile or {}).get(_FIELDS[kind])
    return value if isinstance(value, bool) else None
