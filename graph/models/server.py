"""HTTP to an OpenAI-compatible model server: connections, retries, and what each failure means.

The client is aiohttp. With 500 requests in flight it costs 0.25 ms of CPU per request; httpx costs 1.2 ms with one
connection per request, and more than 10 ms with its shared pool, whose bookkeeping is linear in the connections.

Only this module and `graph.models.failures` classify failures: `ModelUnavailable` for those that may pass (refused or
lost connections, 429, 5xx, a cut or unreadable reply), `ModelRejected` for those that will not (key, model, request).
Messages contain the server's address without credentials, and never a key.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import os
import random
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import orjson
from pydantic import SecretStr

from graph.errors import ModelError, ModelRejected, ModelUnavailable, UnknownModel
from graph.models.connections import open_session
from graph.models.events import EventReader, Unreadable, merged, read_json
from graph.models.failures import (
    Transient,
    error_in,
    failure,
    is_page,
    seconds_to_wait,
    status_in,
    words_of,
)
from tools.text import well_formed_value

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

CONNECT_TIMEOUT: Final = 10.0
LONGEST_WAIT: Final = 30.0
"""Maximum pause in seconds; if a server asks for a longer one (Retry-After), the call fails."""

T = TypeVar("T")


@dataclass(frozen=True)
class Endpoint:
    """The address of a model, and the patience of its callers."""

    base_url: str
    """Base address, without `/chat/completions` and trailing slash."""
    api_key: SecretStr | None = None
    timeout: float = 120.0
    """Time limit of one attempt in seconds, from connecting to the last byte."""
    max_retries: int = 2
    """Further attempts after a refused or lost connection, a 429 or a 5xx."""
    name: str = ""
    """The subject of messages; default: the model server at its address."""
    if_too_long: str = ""
    """Advice in messages about prompts that exceed the context."""

    @property
    def named(self) -> str:
        """The server, as the subject of a sentence."""
        return self.name or f"The model server at {self.shown}"

    @property
    def shown(self) -> str:
        """The address without user name, password and query, for messages."""
        parts = urlsplit(self.base_url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


async def post_json(endpoint: Endpoint, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Post `body`; returns the server's JSON object.

    Raises:
        ModelUnavailable: no usable reply after the retries.
        ModelRejected: the server refused the request.
    """
    return await _fetch_json(endpoint, "POST", path, _payload(body))


async def get_json(endpoint: Endpoint, path: str) -> dict[str, Any]:
    """Get the JSON object at a path of the server. Raises the errors of `post_json`."""
    return await _fetch_json(endpoint, "GET", path, None)


async def list_models(endpoint: Endpoint) -> list[str]:
    """The names of the server's models (`GET /models`). Raises the errors of `post_json`."""
    reply = await get_json(endpoint, "/models")
    entries = reply.get("data")
    if not isinstance(entries, list):
        raise ModelUnavailable(f"The server at {endpoint.shown} sent no list of models; is it a model server?")
    return [str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry]


async def post_stream(endpoint: Endpoint, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """Post `body`; yields the JSON objects of the server-sent events as they arrive, up to `[DONE]`.

    Texts may break in the middle of a character (`tools.text.TextStream` rejoins them). Requests are retried only
    before the first event. Raises the errors of `post_json`, also for an error event, and for a stream that ends
    without `[DONE]` before any choice has a finish reason.
    """
    payload = _payload(body)
    response, events, first = await _with_retries(endpoint, lambda: _open_stream(endpoint, path, payload))
    async with response, aclosing(events):
        yield first
        try:
            async for event in events:
                yield event
        except Transient as error:  # too late for a retry: a part of the reply was passed on
            raise _given_up(error) from error.__cause__


async def _open_stream(
    endpoint: Endpoint, path: str, payload: bytes
) -> tuple[aiohttp.ClientResponse, AsyncGenerator[dict[str, Any], None], dict[str, Any]]:
    """A response, its events, and the first of them: until then a request can be retried."""
    # The connection is not reused, because llama.cpp closes it after a stream.
    response = await _open(endpoint, "POST", path, payload, reuse=False)
    events = _events(endpoint, response)
    try:
        return response, events, await anext(events)
    except StopAsyncIteration:
        response.close()
        raise _cut(endpoint) from None
    except BaseException:
        response.close()
        raise


async def _events(endpoint: Endpoint, response: aiohttp.ClientResponse) -> AsyncGenerator[dict[str, Any], None]:
    if response.content_type in ("text/html", "application/json"):  # the server does not support streams
        yield _reply(endpoint, await _in_our_words(endpoint, response.read()))
        return
    reader, finished, last = EventReader(), False, False
    while not (reader.done or last):
        try:
            line = await _in_our_words(endpoint, response.content.readline())
        except ModelUnavailable:
            if finished:
                return  # the reply is complete
            raise
        last = not line
        try:
            event = reader.end() if last else reader.feed(line)
        except Unreadable as error:
            raise _unreadable(endpoint) from error
        if event is None:
            continue
        if reader.failed or error_in(event):
            raise _failure(endpoint, status_in(event), event)
        finished = finished or any(choice.get("finish_reason") for choice in event.get("choices") or () if choice)
        yield event
    if not (reader.done or finished):
        raise _cut(endpoint)


async def fetch_bytes(endpoint: Endpoint, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
    """The body of a reply that need not be JSON (metrics, acknowledgements). Raises the errors of `post_json`."""

    async def once() -> bytes:
        async with await _open(endpoint, method, path, None if body is None else _payload(body)) as response:
            return await _in_our_words(endpoint, response.read())

    return await _with_retries(endpoint, once)


async def _fetch_json(endpoint: Endpoint, method: str, path: str, payload: bytes | None) -> dict[str, Any]:
    async def once() -> dict[str, Any]:
        async with await _open(endpoint, method, path, payload) as response:
            return _reply(endpoint, await _in_our_words(endpoint, response.read()))

    return await _with_retries(endpoint, once)


def _payload(body: dict[str, Any]) -> bytes:
    """The request as JSON; invalid characters are replaced, since no server could parse them."""
    try:
        return orjson.dumps(body)
    except TypeError:  # also raised for integers beyond 64 bits
        return json.dumps(well_formed_value(body)).encode()


async def _with_retries(endpoint: Endpoint, once: Callable[[], Awaitable[T]]) -> T:
    """The result of `once`, retried after transient failures with exponential backoff and jitter."""
    attempt = 0
    while True:
        try:
            return await once()
        except Transient as error:
            if attempt == endpoint.max_retries or error.wait > LONGEST_WAIT:
                raise _given_up(error) from error.__cause__
            wait = max(error.wait, 0.25 * 2**attempt * random.uniform(0.5, 1.5))
            attempt += 1
            log.debug("Attempt %d at %s failed, next in %.1f s: %s", attempt, endpoint.shown, wait, error)
        await asyncio.sleep(wait)


async def _open(
    endpoint: Endpoint, method: str, path: str, payload: bytes | None, *, reuse: bool = True
) -> aiohttp.ClientResponse:
    """An open, successful response; any other outcome raises."""
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
    if 200 <= response.status < 300:
        return response
    async with response:
        text = await _in_our_words(endpoint, response.read())
        wait = seconds_to_wait(response.headers.get("retry-after"), response.headers.get("retry-after-ms"))
        problem = _failure(endpoint, response.status, text, wait)
    if isinstance(problem, UnknownModel) and method == "POST":
        raise UnknownModel(f"{problem} {await _offer(endpoint)}")
    raise problem


async def _in_our_words(endpoint: Endpoint, work: Awaitable[T]) -> T:
    """The result of an aiohttp operation, with its errors translated."""
    import aiohttp

    try:
        return await work
    except aiohttp.ConnectionTimeoutError as error:
        raise Transient(f"{endpoint.named} could not be reached in time; check the address and the network.") from error
    except TimeoutError as error:
        # Not transient: the time limit is used up, and the server may still be working on the first request.
        raise ModelUnavailable(
            f"{endpoint.named} did not answer within {endpoint.timeout:g} s; "
            "allow more time or make the request smaller."
        ) from error
    except aiohttp.ClientConnectorError as error:
        # asyncio replaces the system's message with the address.
        failed = error.os_error
        reason = os.strerror(failed.errno) if failed.errno and failed.errno > 0 else failed.strerror or str(failed)
        raise Transient(f"{endpoint.named} cannot be reached ({reason.lower()}); is it running?") from error
    except aiohttp.InvalidURL as error:
        raise ModelRejected(f"{endpoint.shown!r} is not the address of a model server.") from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise _cut(endpoint) from error


@lru_cache(maxsize=64)
def _proxy(url: str) -> str | None:
    """The proxy for an address from the environment; aiohttp's own lookup uses two threads per request."""
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)


def _failure(endpoint: Endpoint, status: int, body: bytes | Mapping[str, Any], wait: float = 0.0) -> ModelError:
    key = endpoint.api_key.get_secret_value() if endpoint.api_key is not None else None
    return failure(endpoint.named, status, body, key=key, wait=wait, if_too_long=endpoint.if_too_long)


def _given_up(error: Transient) -> ModelUnavailable:
    """A transient failure after the last attempt, as an error of `graph.errors`."""
    return ModelUnavailable(str(error))


def _cut(endpoint: Endpoint) -> Transient:
    return Transient(f"{endpoint.named} cut off its reply before the end; try again.")


def _unreadable(endpoint: Endpoint) -> Transient:
    return Transient(f"{endpoint.named} sent a reply that is not whole JSON; try again or check the address.")


def _page_instead(endpoint: Endpoint, body: bytes) -> ModelRejected:
    return ModelRejected(
        f"{endpoint.named} sent {words_of(body)} in place of a reply; check that the address ends in /v1."
    )


async def _offer(endpoint: Endpoint) -> str:
    """The models to use instead of an unknown one, if the server lists them."""
    try:
        names = await list_models(replace(endpoint, timeout=min(endpoint.timeout, 5.0), max_retries=0))
    except ModelError:
        return "Check that the address ends in /v1 and that the name is right."
    return f"It offers: {', '.join(names[:10]) or 'no model'}."


def _reply(endpoint: Endpoint, body: bytes) -> dict[str, Any]:
    """The JSON object of a successful reply.

    Raises:
        ModelError: it is not one, or contains an error.
    """
    if is_page(body):
        raise _page_instead(endpoint, body)
    if body.startswith(b"\x1f\x8b"):  # compressed without saying so
        with suppress(OSError, EOFError, zlib.error):
            body = gzip.decompress(body)
    try:
        value = merged(body) or read_json(body)
    except Unreadable as error:
        raise _unreadable(endpoint) from error
    if not isinstance(value, dict):
        raise Transient(f"{endpoint.named} sent a reply that is not a JSON object.")
    if (problem := error_in(value)) is not None:
        raise _failure(endpoint, status_in(problem), problem)
    return value
