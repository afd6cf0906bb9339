"""Fetching politely: with a name, paced per host, patient with a host in trouble, and not twice for the same thing.

One `Fetcher.get` is one answer or one clear error within one time limit; retries and waits count. It is asynchronous
throughout, and `run` gives the synchronous tools the same code.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import logging
import random
import ssl
import time
import zlib
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import httpx
from langchain_core.tools import ToolException

from tools.addresses import PublicOnlyTransport, Resolver, resolve
from tools.errors import ToolUnavailable
from tools.filecache import FileCache
from tools.pacing import PACER, HostPacer

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PROJECT = "agentflow-langgraph"
_RETRIED = {408, 429, 500, 502, 503, 504}
_REDIRECTS = 5
_CONNECT_SECONDS = 5.0


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from synchronous code, also where an event loop is running already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(contextvars.copy_context().run, asyncio.run, coroutine).result()


@functools.cache
def user_agent() -> str:
    """What we call ourselves: the project and its version."""
    try:
        return f"{_PROJECT}/{version(_PROJECT)} (httpx {httpx.__version__})"
    except PackageNotFoundError:
        return _PROJECT


@functools.cache
def _tls() -> ssl.SSLContext:
    """Made once: reading the certificates takes tens of milliseconds and blocks."""
    return httpx.create_ssl_context()


@dataclass(frozen=True)
class Fetched:
    """What a host answered."""

    url: str
    """The address after redirects."""
    content_type: str
    """As the host sent it, e.g. "text/html; charset=utf-8"; empty if it sent none."""
    body: bytes
    truncated: bool = False
    """Whether the body went on beyond the size limit."""


class _PassingError(Exception):
    """The host failed in a way that may pass; `after` is when it asked to be tried again, in seconds."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """How patient, polite and cautious a fetcher is."""

    timeout: float = 20.0
    """Seconds for one `get`, retries and waits included."""
    interval: float = 0.5
    """Seconds between two requests to one host."""
    retries: int = 2
    """How often a failed request is repeated."""
    backoff: float = 0.5
    """Seconds before the first repetition, doubled each time; `Retry-After` has precedence."""
    max_bytes: int = 2_000_000
    """Size limit of a body, unpacked; what is beyond it is not read."""
    public_only: bool = False
    """Refuse hosts that are not on the public internet, and use no proxy from the environment (behind a proxy the
    address that is really connected to cannot be judged)."""
    agent: str | None = None
    """The User-Agent header; some services ask for a contact in it."""


class Fetcher:
    """Gets things over HTTP.

    Args:
        settings: How.
        cache: Where answers are kept; None keeps none.
        pacer: Spaces the requests out; the process' own by default.
        resolver: Looks host names up, where only public ones are fetched from.
    """

    def __init__(
        self,
        settings: FetchSettings | None = None,
        *,
        cache: FileCache | None = None,
        pacer: HostPacer = PACER,
        resolver: Resolver = resolve,
    ) -> None:
        self.settings = settings or FetchSettings()
        self.cache = cache
        self.pacer = pacer
        self.resolver = resolver

    async def get(
        self,
        url: str,
        params: Mapping[str, str | int] | None = None,
        *,
        check: Callable[[Fetched], object] | None = None,
    ) -> Fetched:
        """GET an address, following redirects.

        Args:
            url: An http or https address.
            params: Query parameters to add.
            check: Raises if an answer is an error in disguise; such an answer is not kept.

        Raises:
            ToolException: the address is wrong, forbidden or has nothing: another one is needed.
            ToolUnavailable: the host could not be reached, failed or was too slow.
        """
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ToolException(
                f"{url!r} is no valid address ({error}). Write it like https://example.org/page."
            ) from None
        if address.scheme not in ("http", "https") or not address.host:
            raise ToolException(f"{url!r} is no web address. Write it like https://example.org/page.")
        if address.userinfo:
            raise ToolException("Addresses with a user name or password are not fetched. Leave that part out.")
        address = address.copy_with(fragment=None)
        if params:  # merging nothing would still rewrite the query that is there
            address = address.copy_merge_params(params)
        deadline = time.monotonic() + self.settings.timeout
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self._get(address, check, deadline)
        except TimeoutError:
            raise ToolUnavailable(f"{address.host} did not answer within {self.settings.timeout:g} s.") from None

    async def _get(self, address: httpx.URL, check: Callable[[Fetched], object] | None, deadline: float) -> Fetched:
        host = address.host
        if (kept := await self._kept(address)) is not None:
            return kept
        for attempt in range(self.settings.retries + 1):
            if wait := self.pacer.reserve(host, self.settings.interval, deadline - time.monotonic()):
                await asyncio.sleep(wait)
                # While we waited our turn, another call may have fetched the same thing.
                if (kept := await self._kept(address)) is not None:
                    return kept
            try:
                fetched = await self._send(address)
            except _PassingError as failure:
                wait = self.settings.backoff * 2**attempt * random.uniform(0.75, 1.25)
                if failure.after is not None:
                    wait = failure.after
                logger.info("%s %s (attempt %d); next in %.1f s", host, failure, attempt + 1, wait)
                self.pacer.hold(host, wait)
                if attempt == self.settings.retries or time.monotonic() + wait > deadline:
                    raise ToolUnavailable(f"{host} {failure}. Try again later or use another tool.") from failure
                continue
            if check is not None:
                check(fetched)
            await self._keep(address, fetched)
            return fetched
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _send(self, address: httpx.URL) -> Fetched:
        """One request; raises `_PassingError` where another may succeed."""
        tls = await asyncio.to_thread(_tls)
        transport: httpx.AsyncBaseTransport | None = None
        if self.settings.public_only:
            transport = PublicOnlyTransport(httpx.AsyncHTTPTransport(verify=tls), resolver=self.resolver)
        agent = await asyncio.to_thread(user_agent) if self.settings.agent is None else self.settings.agent
        # gzip only: other encodings are unpacked by httpx without a bound on their size.
        headers = {"User-Agent": agent, "Accept-Encoding": "gzip"}
        try:
            async with (
                httpx.AsyncClient(
                    transport=transport,
                    verify=tls,
                    headers=headers,
                    timeout=httpx.Timeout(self.settings.timeout, connect=min(_CONNECT_SECONDS, self.settings.timeout)),
                    follow_redirects=True,
                    max_redirects=_REDIRECTS,
                ) as client,
                client.stream("GET", address) as response,
            ):
                _raise_for_status(response)
                body, truncated = await self._body(response)
        except httpx.TooManyRedirects:
            raise ToolException(f"{address} redirects more than {_REDIRECTS} times. Use another address.") from None
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise ToolException(f"{address} redirects to something that is no web page ({error}).") from None
        except httpx.TransportError as error:
            raise _PassingError(f"could not be reached ({type(error).__name__}: {error})") from error
        return Fetched(str(response.url), response.headers.get("content-type", ""), body, truncated)

    async def _body(self, response: httpx.Response) -> tuple[bytes, bool]:
        """At most `max_bytes` of the unpacked body, and whether there was more."""
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise ToolException(f"{response.url} is packed as {encoding!r}, which is not read. Use another page.")
        unpack = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if "gzip" in encoding else None
        body = bytearray()
        async for raw in response.aiter_raw(65_536):
            room = self.settings.max_bytes + 1 - len(body)
            try:
                body += unpack.decompress(raw, room) if unpack else raw[:room]
            except zlib.error as error:
                raise _PassingError(f"sent a damaged answer ({error})") from error
            if len(body) > self.settings.max_bytes:
                return bytes(body[: self.settings.max_bytes]), True
        return bytes(body), False

    def _key(self, address: httpx.URL) -> str:
        # A fetcher for the public internet must not be served what another one fetched from a private host.
        return f"{'public' if self.settings.public_only else 'any'} {self.settings.max_bytes} {address}"

    async def _kept(self, address: httpx.URL) -> Fetched | None:
        if self.cache is None:
            return None
        kept = await asyncio.to_thread(self.cache.get, self._key(address))
        if kept is None:
            return None
        head, _, body = kept.partition(b"\n")
        return Fetched(body=body, **json.loads(head))

    async def _keep(self, address: httpx.URL, fetched: Fetched) -> None:
        if self.cache is None:
            return
        head = {"url": fetched.url, "content_type": fetched.content_type, "truncated": fetched.truncated}
        await asyncio.to_thread(self.cache.put, self._key(address), json.dumps(head).encode() + b"\n" + fetched.body)


def _raise_for_status(response: httpx.Response) -> None:
    status = response.status_code
    if status in _RETRIED:
        raise _PassingError(
            f"answered {status} {response.reason_phrase}", retry_after(response.headers.get("retry-after"))
        )
    if status >= 500:
        raise ToolUnavailable(f"{response.url.host} failed with {status} {response.reason_phrase}.")
    if status != 200:
        raise ToolException(
            f"{response.url} answered {status} {response.reason_phrase}. Check the address or use another page."
        )


def retry_after(header: str | None) -> float | None:
    """The seconds that a Retry-After header (RFC 9110, 10.2.3: number or date) asks for; None if it says nothing."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
