"""Dataclass fields for settings, with descriptions for forms and help texts."""

from __future__ import annotations

from dataclasses import MISSING, field
from typing import Any


def option(description: str, default: Any = MISSING, **marks: bool | str) -> Any:
    """A field of a settings dataclass.

    Args:
        description: One sentence for the user.
        default: Default value; omit it for a required setting.
        marks: Further properties of the setting, stored in the field's metadata.
    """
    metadata = {"description": description, **marks}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)
