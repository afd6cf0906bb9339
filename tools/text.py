"""Text that can be stored and sent: what is no character is replaced where it enters.

Python's strings can hold halves of surrogate pairs: JSON writes them (`"\\ud83d"`), and file names, arguments and
environment variables bring undecodable bytes as such. No encoder takes them, so that one bad character from a tool, a
model or a user would end a run far from where it came in. NUL is one of them, because Postgres cannot hold it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_BAD = re.compile("[\ud800-\udfff\0]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_ESCAPED_BYTES = re.compile("[\udc80-\udcff]+")


def well_formed(text: str) -> str:
    """The text without lone surrogates and NUL characters.

    The two halves of a pair become their character, undecoded bytes (PEP 383) what UTF-8 makes of them, and the rest
    U+FFFD.
    """
    if (text.isascii() and "\0" not in text) or not _BAD.search(text):
        return text
    text = _with_pairs(text)
    text = _ESCAPED_BYTES.sub(lambda run: run[0].encode("utf-8", "surrogateescape").decode("utf-8", "replace"), text)
    return _BAD.sub(REPLACEMENT, text)


def _with_pairs(text: str) -> str:
    """The text with the two halves of each pair as one character."""
    return _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)


def _unfinished(text: str) -> int:
    """How many characters at the end of a text may be the beginning of one."""
    if "\ud800" <= text[-1:] <= "\udbff":
        return 1
    for count in (3, 2, 1):
        tail = text[-count:]
        if len(tail) < count or not _ESCAPED_BYTES.fullmatch(tail):
            continue
        try:
            tail.encode("utf-8", "surrogateescape").decode("utf-8")
        except UnicodeDecodeError as error:
            if error.start == 0 and error.reason == "unexpected end of data":
                return count
    return 0


def well_formed_value(value: Any) -> Any:
    """A JSON-like value whose texts, keys included, are all `well_formed`; other objects are left as they are."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {well_formed_value(key): well_formed_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [well_formed_value(item) for item in value]
    if isinstance(value, tuple):
        return tuple(well_formed_value(item) for item in value)
    return value


def with_text_keys(value: Any) -> Any:
    """A value with texts as keys, as JSON has no others; other objects are left as they are."""
    if isinstance(value, dict):
        return {str(key): with_text_keys(item) for key, item in value.items()}
    return type(value)(map(with_text_keys, value)) if type(value) in (list, tuple) else value


class TextStream:
    """Joins pieces of a text that may break in the middle of a character."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """What can be shown, well formed, now that this piece has come."""
        text = _with_pairs(self._held + piece)
        complete = len(text) - _unfinished(text)
        self._held = text[complete:]
        return well_formed(text[:complete])

    def end(self) -> str:
        """What was held back for a piece that did not come."""
        held, self._held = self._held, ""
        return well_formed(held)


Text: TypeAlias = Annotated[str, BeforeValidator(well_formed_value)]
"""A tool's argument that is made well formed, whoever calls the tool."""
