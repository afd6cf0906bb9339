"""Classifies the errors of model servers, in all their forms.

Servers report errors by status, inside a reply of status 200, inside one of its choices, in an event of a stream, or as
a web page of a proxy in front of them.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

from graph.errors import (
    ContextLengthExceeded,
    ModelError,
    ModelRejected,
    ModelUnavailable,
    RequestRefused,
    UnknownModel,
)
from tools.text import well_formed

QUOTED: Final = 300
"""Maximum characters quoted from a server's error text."""

_CONTEXT = re.compile(
    r"context[ _](length|size|window)|maximum context|exceed_context|prompt is too long|too many tokens", re.IGNORECASE
)
_UNKNOWN_MODEL = re.compile(
    r"model\b.{0,120}(not (found|exist|supported)|does not exist|unknown)|model_not_found", re.I
)
_STATUS_OF = {
    "rate_limit": 429, "rate_limit_exceeded": 429, "rate_limit_error": 429, "too_many_requests": 429,
    "insufficient_quota": 429, "quota_exceeded": 429, "resource_exhausted": 429,
    "invalid_api_key": 401, "authentication_error": 401, "unauthorized": 401, "unauthenticated": 401,
    "permission_error": 403, "permission_denied": 403, "forbidden": 403,
    "invalid_request_error": 400, "invalid_request": 400, "badrequesterror": 400, "bad_request": 400,
    "invalid_argument": 400, "context_length_exceeded": 400,
    "not_found": 404, "not_found_error": 404, "notfounderror": 404, "model_not_found": 404,
    "overloaded_error": 503, "unavailable": 503, "service_unavailable": 503, "timeout": 504,
}  # fmt: skip
"""Error codes that servers send instead of a status; all others count as server errors."""
_PAGE = re.compile(rb"\s*(?:<!doctype html|<html|<head|<body|<\?xml)", re.IGNORECASE)
_TITLE = re.compile(r"<(title|h1)\b[^>]*>(?P<text>.*?)</\1>", re.IGNORECASE | re.DOTALL)


class Transient(ModelUnavailable):
    """A failure that a retry may avoid; `wait` is the pause in seconds that the server asked for."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


def failure(
    server: str,
    status: int,
    body: bytes | Mapping[str, Any],
    *,
    key: str | None = None,
    wait: float = 0.0,
    if_too_long: str = "",
) -> ModelError:
    """The exception for an error reply.

    Args:
        server: The server, as the subject of a sentence.
        status: HTTP status, or the one inside the reply.
        body: The reply, raw or parsed.
        key: The API key that was sent; it is removed from the server's text.
        wait: The pause in seconds that the server asked for.
        if_too_long: Advice about prompts that exceed the context.
    """
    detail = words_of(body)
    if key is not None:
        detail = detail.replace(key, "[key]")
    if status in (401, 403):
        # The server's text is omitted, because some servers repeat the key in it.
        if key is None:
            return ModelRejected(f"{server} wants an API key ({status}): set AGENTFLOW_API_KEY to it.")
        return ModelRejected(f"{server} refused the API key ({status}): correct AGENTFLOW_API_KEY (or `api_key`).")
    if status in (400, 413, 422, 500) and _CONTEXT.search(detail):
        advice = f"; {if_too_long}" if if_too_long else ""
        return ContextLengthExceeded(f"{server} cannot take a prompt of this length: {detail}{advice}.")
    if status == 404 or (status in (400, 422) and _UNKNOWN_MODEL.search(detail)):
        return UnknownModel(f"{server} does not know this model or path: {detail}.")
    if status == 429:
        return Transient(f"{server} is overloaded or the quota is used up (429: {detail}); try again later.", wait)
    if status in (408, 409, 425) or status >= 500:
        return Transient(f"{server} failed ({status}: {detail}); try again, or look at the server's log.", wait)
    return RequestRefused(f"{server} refused the request ({status}: {detail}).", detail)


def error_in(reply: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The error in a reply of status 200 or in an event of a stream, or None."""
    if reply.get("error") or "error" in (reply.get("object"), reply.get("type")):
        return reply
    choices = reply.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("error"):
            return choice
        if isinstance(choice, dict) and choice.get("finish_reason") == "error":
            return {"error": {"message": "the reply ended in an error"}}
    if "choices" not in reply and "data" not in reply and any(reply.get(key) for key in ("errors", "detail")):
        return reply
    return None


def status_in(error: Mapping[str, Any]) -> int:
    """The HTTP status in an error, given as a number or by its kind; default: 500."""
    inner = error.get("error")
    for part in (inner, error):
        if not isinstance(part, Mapping):
            continue
        for key in ("code", "status", "status_code", "http_status", "type"):
            value = str(part.get(key, "")).strip().lower()
            if value.isdigit() and 400 <= int(value) < 600:
                return int(value)
            if value in _STATUS_OF:
                return _STATUS_OF[value]
    return 500


def words_of(body: bytes | Mapping[str, Any]) -> str:
    """The server's error text, on one line and clipped; for a web page, its title."""
    text: Any = body
    value: Any = body
    if isinstance(body, bytes):
        if is_page(body):
            return _page_words(body)
        text = body.decode(errors="replace")
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            value = None
    while isinstance(value, Mapping | list) and value:
        if isinstance(value, list):
            value = value[0]
        else:
            keys = ("error", "message", "msg", "detail", "errors", "error_message", "title")
            value = next((value[key] for key in keys if value.get(key)), None)
        text = value or text
    text = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False, default=str)
    line = " ".join(well_formed(text).split()).rstrip(".") or "no reason given"
    return line if len(line) <= QUOTED else line[:QUOTED] + "..."


def is_page(body: bytes) -> bool:
    """Whether a reply is a web page."""
    return _PAGE.match(body.removeprefix(b"\xef\xbb\xbf")) is not None


def _page_words(body: bytes) -> str:
    titles = [html.unescape(match["text"]) for match in _TITLE.finditer(body.decode(errors="replace"))]
    title = next((line for text in titles if (line := " ".join(re.sub(r"<[^>]*>", " ", text).split()))), "")
    return f"a web page, {well_formed(title[:100])!r}" if title else "a web page without a title"


def seconds_to_wait(retry_after: str | None, retry_after_ms: str | None = None) -> float:
    """The pause that a server's headers ask for (in seconds, in milliseconds, or until a date); 0 if none."""
    for header, unit in ((retry_after_ms, 0.001), (retry_after, 1.0)):
        try:
            seconds = float(header or "") * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        date = parsedate_to_datetime(retry_after or "")
    except ValueError:
        return 0.0
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
