"""Removes keys and passwords from texts that are stored or shown.

Keys come from environment variables, and those of a service from its configuration, so their values are known and can
be removed from any text. Every error of the project (`graph.errors`) and every stored setting shows addresses without
user name, password and query. The error of a tool keeps its query, since the planner has to see what failed, but for
the values of parameters that are named like a key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

MARK = "[key]"

_BEARERS = re.compile(r"(?:_KEY|_TOKEN|_SECRET|_PASSWORD|^PGPASSWORD)$")
_PERHAPS = re.compile(r"(?:^|_)(?:KEYS?|TOKENS?|SECRETS?|PASSWORD|PASSWD|PGPASSWORD|CREDENTIALS?)(?:_|$)")
_SHORTEST = 8
"""Shortest value that counts as a key; shorter ones are ordinary words."""
_ADDRESS = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^\s/'\"]*@)?(?P<place>[^\s?'\",]*)(?:\?[^\s'\",]+)?", re.I
)

_LOGIN = re.compile(r"://[^\s/@]+@")
_PARAMETER = re.compile(
    r"(?i)(?<=[?&])([\w.-]*(?:key(?!words?=)|token|secret|passw|pwd|auth(?!or)|sig(?==)|signature|credential)[\w.-]*)"
    r"=[^\s&'\"<>,]+"
)
"""A parameter in an address that may be a key."""


def bears_key(name: str, value: str) -> bool:
    """Whether a variable may hold a key or a password, by its name or by an address with a login."""
    return bool(_PERHAPS.search(name.upper()) or _LOGIN.search(value))


def without_keys(text: str, secrets: Iterable[str] = ()) -> str:
    """The text with every key from the environment, and the further secrets, replaced by `[key]`."""
    keys = (value for name, value in os.environ.items() if _BEARERS.search(name.upper()))
    for value in (*keys, *secrets):
        if len(value) >= _SHORTEST and value in text:
            text = text.replace(value, MARK)
    return text


def without_credentials(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without keys and further secrets, and with addresses stripped of user name, password and query."""
    return without_keys(_ADDRESS.sub(r"\g<scheme>\g<place>", text), secrets)


def without_secrets(text: str) -> str:
    """The text without keys, and with addresses stripped of user name, password and parameters that may be keys."""
    return without_keys(_PARAMETER.sub(rf"\1={MARK}", _LOGIN.sub("://", text)))


def to_be_stored(value: Any) -> Any:
    """A setting, or settings, with all texts `without_credentials`."""
    if isinstance(value, Mapping):
        return {name: to_be_stored(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_be_stored(part) for part in value]
    return without_credentials(value) if isinstance(value, str) else value
