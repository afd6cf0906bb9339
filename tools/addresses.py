"""Which network addresses a model may make us fetch from: public ones only.

A URL written by a model, or a redirect from a page it chose, must not reach this machine, its neighbours or a cloud's
metadata service. Names cannot be judged, only addresses, and a name may have another address the second time it is
looked up; so each connection looks the name up once, judges every address it got and connects to one of *those*.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable

import httpx
from langchain_core.tools import ToolException

from tools.errors import ToolUnavailable

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a host (name, or address in any notation) for a port."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


def is_public(address: str) -> bool:
    """Whether a numeric address is a public unicast one.

    IPv4 addresses inside IPv6 ones (mapped, NAT64) are judged as themselves; tunnels (6to4, Teredo) are refused.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.sixtofour is not None or ip.teredo is not None or ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host as the system's resolver gives them, which also reads forms like 0x7f.1 and 2130706433.

    Raises:
        ToolException: there is no such host.
        ToolUnavailable: the resolver did not answer.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _NO_SUCH_NAME:
            raise ToolException(
                f"There is no host called {host!r}. Check the address, or search for another."
            ) from None
        raise ToolUnavailable(f"The name {host!r} could not be looked up ({error.strerror}).") from error
    except UnicodeError:
        raise ToolException(f"{host!r} is no valid host name. Check the address.") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class PublicOnlyTransport(httpx.AsyncBaseTransport):
    """An `httpx` transport that connects to public addresses only.

    It sits below redirects, so each hop is judged. The request goes to the judged address itself, with the name in the
    Host header and in the TLS handshake: there is no second look-up that could answer differently.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, *, resolver: Resolver = resolve) -> None:
        self._inner = inner
        self._resolve = resolver

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        host = url.host
        addresses = await self._resolve(host, url.port or (443 if url.scheme == "https" else 80))
        if not addresses or not all(map(is_public, addresses)):
            raise ToolException(f"{host!r} is not on the public internet; pages there cannot be read.")
        for last, address in enumerate(addresses, start=1 - len(addresses)):
            pinned = httpx.Request(
                request.method,
                url.copy_with(host=address.partition("%")[0]),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if last == 0:
                    raise
        raise AssertionError("unreachable: the last address returns or raises")

    async def aclose(self) -> None:
        await self._inner.aclose()
