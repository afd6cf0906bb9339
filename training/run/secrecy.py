"""What must not be written down: keys and passwords, wherever they stand in a text.

Keys reach this program through the environment alone, so their values are known and can be taken out of any text. An
address may carry a user name, a password or a key of its own; it is shown without them.
"""

from __future__ import annotations

import os
import re

MARK = "[key]"

_BEARERS = re.compile(r"(?:_KEY|_TOKEN|_SECRET|_PASSWORD|^PGPASSWORD)$")
_SHORTEST = 8
"""Characters of a value that is taken for a key: shorter ones are ordinary words."""
_ADDRESS = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^\s/'\"]*@)?(?P<place>[^\s?'\",]*)(?:\?[^\s'\",]*)?", re.I
)


def without_keys(text: str) -> str:
    """The text with every key of the environment replaced by `[key]`."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _BEARERS.search(name.upper()) and value in text:
            text = text.replace(value, MARK)
    return text


def without_credentials(text: str) -> str:
    """The text without keys, and its addresses without user name, password and query."""
    return without_keys(_ADDRESS.sub(r"\g<scheme>\g<place>", text))
