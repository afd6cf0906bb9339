"""A run at a service that takes tasks by POST and answers with JSON or text."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from graph.errors import ConfigError, ModelUnavailable

_LONGEST_ANSWER = 2**24
_PATIENCE = 5.0
"""Time limit for a connection in seconds."""


class ServiceRun:
    """One task at the service.

    Args:
        url: address of the service.
        given: the task.
    """

    def __init__(self, url: str, given: Mapping[str, Any]) -> None:
        self._url = url
        self._given = given
        self.output = ""
        """The body of a successful response."""
        self.last_error = ""

    async def to_its_end(self) -> int:
        """Posts the task; returns 0 for a response of success, else its status.

        Raises:
            ModelUnavailable: the service is unreachable or overloaded.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_PATIENCE)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.post(self._url, json=dict(self._given), allow_redirects=False) as response,
            ):
                data = await _whole(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ModelUnavailable(
                f"The agent's service at {self._url} failed: {error or type(error).__name__}."
            ) from error
        self.output = data.decode(errors="replace")
        if response.status in (429, 502, 503, 504):
            raise ModelUnavailable(f"The agent's service at {self._url} answered {response.status}.")
        if 200 <= response.status < 300:
            return 0
        self.last_error, self.output = self.output.strip()[:300], ""
        return response.status


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for piece in response.content.iter_any():
        data += piece
        if len(data) > _LONGEST_ANSWER:
            raise aiohttp.ClientPayloadError(f"more than {_LONGEST_ANSWER} bytes")
    return bytes(data)


async def check_service(url: str) -> None:
    """Checks that the service listens.

    Raises:
        ConfigError: the address is invalid, or nothing listens there.
    """
    try:
        parts = urlsplit(url)
        place = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        place = None, 0
    if not place[0] or parts.scheme not in ("http", "https"):
        raise ConfigError(f"agent_url is {url!r}; write the address of a service, e.g. http://127.0.0.1:9000/task.")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(*place), _PATIENCE)
    except (OSError, TimeoutError) as error:
        raise ConfigError(f"Nothing listens at agent_url, {url}; start the agent's service first.") from error
    writer.close()
