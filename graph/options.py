"""Fields of a dataclass of settings that carry their description, for forms and help texts."""

from __future__ import annotations

from dataclasses import MISSING, field
from typing import Any


def option(description: str, default: Any = MISSING, **marks: bool) -> Any:
    """A field of a dataclass of settings.

    Args:
        description: one sentence for the user.
        default: leave it out where a value must be given.
        marks: what else holds of the setting, kept in the field's metadata.
    """
    metadata = {"description": description, **marks}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)
