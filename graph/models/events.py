"""Server-sent events of model servers, both standard and as found in practice.

In the standard an event ends with an empty line and may consist of several `data:` lines. In practice servers omit
the empty line, send events without content, write bare JSON lines, or split a character between two events. Split
characters are rejoined where the texts are joined (`tools.text.TextStream`).
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from tools.text import well_formed_value


class Unreadable(ValueError):
    """A reply that is not valid JSON, or incomplete."""


class EventReader:
    """Parses a stream line by line.

    Attributes:
        done: whether the server has marked the end of the stream.
        failed: whether the last event was sent as an error.
    """

    def __init__(self) -> None:
        self.done = False
        self.failed = False
        self._data: list[bytes] = []
        self._kind = b""
        self._first = True

    def feed(self, line: bytes) -> dict[str, Any] | None:
        """The event completed by this line, if any.

        Raises:
            Unreadable: an event is not complete JSON.
        """
        line = line.strip(b"\r\n")
        if self._first:
            line, self._first = line.removeprefix(b"\xef\xbb\xbf"), False
        if not line.strip():
            return self.end()
        if line.lstrip()[:1] in (b"{", b"["):
            name, data = b"data", line
        else:
            name, _, data = line.partition(b":")
        if name == b"event":
            self._kind = data.strip()
        if name == b"error":
            self._kind = name
        if name not in (b"data", b"error"):
            return None
        if data.strip() == b"[DONE]":
            self.done = True
            return None
        if data.strip():
            self._data.append(data.removeprefix(b" "))
        return self._event(whole=False)

    def end(self) -> dict[str, Any] | None:
        """The event completed by an empty line or the end of the stream, if any.

        Raises:
            Unreadable: it is not complete JSON.
        """
        event = self._event(whole=True)
        self._kind = b""
        return event

    def _event(self, *, whole: bool) -> dict[str, Any] | None:
        data = b"\n".join(self._data)
        if not data.strip():
            return None
        if data.lstrip()[:1] not in (b"{", b"["):  # such as "ping" or "OK"
            self._data.clear()
            return None
        try:
            event = read_json(data, mend=False)
        except Unreadable:
            if whole:
                self._data.clear()
                raise
            return None
        self._data.clear()
        self.failed = self._kind == b"error"
        if not isinstance(event, dict):
            raise Unreadable("not an object")
        return event


def read_json(data: bytes, *, mend: bool = True) -> Any:
    """Parse JSON that may contain invalid UTF-8, lone surrogates, or NaN and infinities.

    Args:
        data: The text.
        mend: Whether such characters are replaced; else they are kept as surrogates, to be joined with what follows.

    Raises:
        Unreadable: it is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from None
    return well_formed_value(value) if mend else value


def merged(body: bytes) -> dict[str, Any] | None:
    """The complete reply of a stream, for servers that stream unasked; None if it is not a stream of replies.

    Raises:
        Unreadable: an event is not complete JSON.
    """
    if not body.lstrip().startswith((b"data:", b"event:", b":")):
        return None
    reader = EventReader()
    events = [event for line in [*body.split(b"\n"), b""] if (event := reader.feed(line)) is not None]
    message: dict[str, Any] = {"role": "assistant"}
    reply: dict[str, Any] = {}
    finish_reason = None
    for event in events:
        reply |= {key: value for key, value in event.items() if value is not None and key != "choices"}
        for choice in event.get("choices") or ():
            finish_reason = choice.get("finish_reason") or finish_reason
            for key, value in (choice.get("delta") or choice.get("message") or {}).items():
                is_text = isinstance(value, str) and key != "role"
                message[key] = (message.get(key) or "") + value if is_text else message.get(key, value)
    if not events or "error" in reply:
        return reply or None
    reply["choices"] = [
        {"message": {k: v for k, v in message.items() if v is not None}, "finish_reason": finish_reason}
    ]
    return dict(well_formed_value(reply))
