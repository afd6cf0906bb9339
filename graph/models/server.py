"""HTTP to an OpenAI-compatible model server: connections, retries, and what each failure means.

The client is aiohttp. With 500 requests in flight it costs 0.25 ms of CPU a request; httpx costs 1.2 ms through a
connection of its own and more than 10 through its shared pool, whose bookkeeping is linear in the connections.

What a failure means is decided here and nowhere else: `ModelUnavailable` for whatever may pass (refused or lost
connections, 429, 5xx, a cut or unreadable reply), `ModelRejected` for what will not (key, model, request). Messages
name the server's address without credentials and never hold a key.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import orjson
from pydantic import SecretStr

from graph.errors import ContextLengthExceeded, ModelError, ModelRejected, ModelUnavailable
from graph.models.connections import open_session

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

CONNECT_TIMEOUT: Final = 10.0
LONGEST_WAIT: Final = 30.0
"""A server that asks (Retry-After) for a longer pause than this many seconds is reported instead of waited for."""
QUOTED: Final = 300
"""Characters of a server's own error text that a message quotes."""

_CONTEXT = re.compile(
    r"context[ _](length|size|window)|maximum context|exceed_context|prompt is too long|too many tokens", re.IGNORECASE
)
_UNKNOWN_MODEL = re.compile(
    r"model\b.{0,120}(not (found|exist|supported)|does not exist|unknown)|model_not_found", re.I
)

T = TypeVar("T")


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served and how patient its callers are."""

    base_url: str
    """Address that ends where `/chat/completions` begins, without a trailing slash."""
    api_key: SecretStr | None = None
    timeout: float = 120.0
    """Seconds one attempt may take, from connecting to the last byte."""
    max_retries: int = 2
    """Further attempts after a refused or lost connection, a 429 or a 5xx."""
    name: str = ""
    """What messages call it; empty for a model server at its address."""
    if_too_long: str = ""
    """What to do about a prompt that does not fit its context, for messages."""

    @property
    def named(self) -> str:
        """The server as the subject of a sentence."""
        return self.name or f"The model server at {self.shown}"

    @property
    def shown(self) -> str:
        """The address without user name, password and query, for messages."""
        parts = urlsplit(self.base_url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class UnknownModel(ModelRejected):
    """The server does not know the model, or nothing is served at this path."""


class RequestRefused(ModelRejected):
    """A 400 or 422 for a reason other than the context length; `detail` is the server's own text."""

    def __init__(self, message: str, detail: str) -> None:
        super().__init__(message)
        self.detail = detail


class _Transient(ModelUnavailable):
    """A failure that the next attempt may not meet; `wait` is the pause in seconds that the server asked for."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


async def post_json(endpoint: Endpoint, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON object that the server answers to `body`.

    Raises:
        ModelUnavailable: no usable reply after the retries.
        ModelRejected: the server refused the request.
    """
    return await _fetch_json(endpoint, "POST", path, orjson.dumps(body))


async def get_json(endpoint: Endpoint, path: str) -> dict[str, Any]:
    """The JSON object at a path of the server. Errors are those of `post_json`."""
    return await _fetch_json(endpoint, "GET", path, None)


async def list_models(endpoint: Endpoint) -> list[str]:
    """The names of the models that the server offers (`GET /models`). Errors are those of `post_json`."""
    reply = await get_json(endpoint, "/models")
    entries = reply.get("data")
    if not isinstance(entries, list):
        raise ModelUnavailable(f"The server at {endpoint.shown} sent no list of models; is it a model server?")
    return [str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry]


async def post_stream(endpoint: Endpoint, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """The JSON objects of the server-sent events that answer `body`, as they arrive, up to `[DONE]`.

    Retries happen only before the first event. Errors are those of `post_json`; an error event inside the stream and
    a stream that is cut before `[DONE]` raise as well.
    """
    payload = orjson.dumps(body)
    # The connection serves no other request: llama.cpp hangs up after a stream.
    response = await _with_retries(endpoint, lambda: _open(endpoint, "POST", path, payload, reuse=False))
    async with response:
        while line := await _in_our_words(endpoint, response.content.readline()):
            name, _, data = line.partition(b":")
            data = data.strip()
            if name not in (b"data", b"error"):
                continue
            if data == b"[DONE]":
                return
            event = _json_object(data, endpoint)
            if name == b"error" or "error" in event:
                raise _failure(endpoint, _error_status(event), data)
            yield event
    raise _cut(endpoint)


async def fetch_bytes(endpoint: Endpoint, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
    """The body of a reply that need not be JSON (metrics, acknowledgements). Errors are those of `post_json`."""

    async def once() -> bytes:
        async with await _open(endpoint, method, path, None if body is None else orjson.dumps(body)) as response:
            return await _in_our_words(endpoint, response.read())

    return await _with_retries(endpoint, once)


async def _fetch_json(endpoint: Endpoint, method: str, path: str, payload: bytes | None) -> dict[str, Any]:
    async def once() -> dict[str, Any]:
        async with await _open(endpoint, method, path, payload) as response:
            return _json_object(await _in_our_words(endpoint, response.read()), endpoint)

    return await _with_retries(endpoint, once)


async def _with_retries(endpoint: Endpoint, once: Callable[[], Awaitable[T]]) -> T:
    """The result of `once`, repeated after transient failures with a short, jittered, growing pause."""
    for attempt in range(endpoint.max_retries):
        try:
            return await once()
        except _Transient as error:
            if error.wait > LONGEST_WAIT:
                raise
            wait = max(error.wait, 0.25 * 2**attempt * random.uniform(0.5, 1.5))
            log.debug("Attempt %d at %s failed, next in %.1f s: %s", attempt + 1, endpoint.shown, wait, error)
        await asyncio.sleep(wait)
    return await once()


async def _open(
    endpoint: Endpoint, method: str, path: str, payload: bytes | None, *, reuse: bool = True
) -> aiohttp.ClientResponse:
    """An open response with status 200; every other outcome raises."""
    import aiohttp

    session = await open_session()
    headers = {"content-type": "application/json"}
    if not reuse:
        headers["connection"] = "close"
    if endpoint.api_key is not None:
        headers["authorization"] = f"Bearer {endpoint.api_key.get_secret_value()}"
    response = await _in_our_words(
        endpoint,
        session.request(
            method,
            endpoint.base_url + path,
            data=payload,
            headers=headers,
            proxy=_proxy(endpoint.base_url),
            timeout=aiohttp.ClientTimeout(endpoint.timeout, sock_connect=min(CONNECT_TIMEOUT, endpoint.timeout)),
        ),
    )
    if response.status == 200:
        return response
    async with response:
        text = await _in_our_words(endpoint, response.read())
        failure = _failure(endpoint, response.status, text, response.headers.get("retry-after"))
    if isinstance(failure, UnknownModel) and method == "POST":
        raise UnknownModel(f"{failure} {await _offer(endpoint)}")
    raise failure


async def _in_our_words(endpoint: Endpoint, work: Awaitable[T]) -> T:
    """The result of an aiohttp operation, its errors translated."""
    import aiohttp

    try:
        return await work
    except aiohttp.ConnectionTimeoutError as error:
        raise _Transient(
            f"{endpoint.named} could not be reached in time; check the address and the network."
        ) from error
    except TimeoutError as error:
        # Not transient: the caller's patience is spent, and the server may still be at work on the first request.
        raise ModelUnavailable(
            f"{endpoint.named} did not answer within {endpoint.timeout:g} s; "
            "allow more time or make the request smaller."
        ) from error
    except aiohttp.ClientConnectorError as error:
        # asyncio puts the address in place of the system's own words.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.os_error)
        raise _Transient(f"{endpoint.named} cannot be reached ({reason.lower()}); is it running?") from error
    except aiohttp.InvalidURL as error:
        raise ModelRejected(f"{endpoint.shown!r} is not the address of a model server.") from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise _cut(endpoint) from error


@lru_cache(maxsize=64)
def _proxy(url: str) -> str | None:
    """The proxy that the environment sets for an address; aiohttp's own look-up costs two threads a request."""
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)


def _failure(endpoint: Endpoint, status: int, raw: bytes, retry_after: str | None = None) -> ModelError:
    """The error that an error reply stands for."""
    where = endpoint.named
    detail = _error_text(raw)
    if endpoint.api_key is not None:
        detail = detail.replace(endpoint.api_key.get_secret_value(), "[key]")
    if status in (401, 403):
        # The server's text is left out: some servers repeat the key in it.
        if endpoint.api_key is None:
            return ModelRejected(f"{where} wants an API key ({status}): set AGENTFLOW_API_KEY to it.")
        return ModelRejected(f"{where} refused the API key ({status}): correct AGENTFLOW_API_KEY (or `api_key`).")
    if status in (400, 413, 422, 500) and _CONTEXT.search(detail):
        advice = f"; {endpoint.if_too_long}" if endpoint.if_too_long else ""
        return ContextLengthExceeded(f"{where} cannot take a prompt of this length: {detail}{advice}.")
    if status == 404 or (status in (400, 422) and _UNKNOWN_MODEL.search(detail)):
        return UnknownModel(f"{where} does not know this model or path: {detail}.")
    if status == 429:
        message = f"{where} is overloaded or the quota is used up (429: {detail}); try again later."
        return _Transient(message, _seconds(retry_after))
    if status in (408, 409, 425) or status >= 500:
        message = f"{where} failed ({status}: {detail}); try again, or look at the server's log."
        return _Transient(message, _seconds(retry_after))
    return RequestRefused(f"{where} refused the request ({status}: {detail}).", detail)


def _cut(endpoint: Endpoint) -> _Transient:
    return _Transient(f"{endpoint.named} cut off its reply before the end; try again.")


async def _offer(endpoint: Endpoint) -> str:
    """What can be used instead of an unknown model, as far as the server tells."""
    try:
        names = await list_models(replace(endpoint, timeout=min(endpoint.timeout, 5.0), max_retries=0))
    except ModelError:
        return "Check that the address ends in /v1 and that the name is right."
    return f"It offers: {', '.join(names[:10]) or 'no model'}."


def _json_object(raw: bytes, endpoint: Endpoint) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _Transient(
            f"{endpoint.named} sent a reply that is not whole JSON; try again or check the address."
        ) from error
    if not isinstance(value, dict):
        raise _Transient(f"{endpoint.named} sent a reply that is not a JSON object.")
    return value


def _error_status(event: dict[str, Any]) -> int:
    """The HTTP status that an error event of a stream names; 500 when it names none."""
    error = event.get("error", event)
    code = str(error.get("code")) if isinstance(error, dict) else ""
    return int(code) if code.isdigit() and 400 <= int(code) < 600 else 500


def _error_text(raw: bytes) -> str:
    """The server's own words, from the shapes in which servers send them, on one line and clipped."""
    text: Any = raw.decode(errors="replace")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = None
    while isinstance(value, dict):
        value = value.get("error") or value.get("message") or value.get("detail")
        text = value or text
    line = " ".join(str(text).split()).rstrip(".") or "no reason given"
    return line if len(line) <= QUOTED else line[:QUOTED] + "..."


def _seconds(retry_after: str | None) -> float:
    """A Retry-After header in seconds; 0 for none and for the rare date form."""
    try:
        return max(0.0, float(retry_after or 0))
    except ValueError:
        return 0.0
