from __future__ import annotations

import ipaddress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import ToolException

from tools.addresses import PublicOnlyTransport, is_public, resolve
from tools.errors import ToolUnavailable
from tools.http import Fetcher, FetchSettings
from tools.pacing import HostPacer

PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "233.252.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2001:0:7f00:1::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "ff02::1",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_is_judged_alike_in_its_ipv6_clothes(address: ipaddress.IPv4Address) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address)) == is_public(f"64:ff9b::{address}")


def public_fetcher(**parts: Any) -> Fetcher:
    settings = FetchSettings(public_only=True, interval=0.0, retries=0, timeout=5.0)
    return Fetcher(settings, pacer=HostPacer(), **parts)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::1]", "0"]
)
async def test_no_notation_of_this_machine_is_fetched(site: Any, reply: Any, host: str) -> None:
    site.pages["/"] = reply("secret")
    with pytest.raises(ToolException):  # not on the public internet, or refused as malformed
        await public_fetcher().get(f"http://{host}:{site.port}/")
    assert site.requests == []


async def test_one_private_address_among_several_is_enough_to_refuse(site: Any) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "127.0.0.1"]

    with pytest.raises(ToolException, match="public internet"):
        await public_fetcher(resolver=resolver).get(f"http://mixed.example:{site.port}/")
    assert site.requests == []


class Recorder(httpx.AsyncBaseTransport):
    """Stands for the network below the guard: keeps what would be connected to."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_the_connection_goes_to_the_judged_address_with_the_name_kept() -> None:
    looked_up = []

    async def rebinding(host: str, port: int) -> list[str]:
        looked_up.append((host, port))
        return ["93.184.216.34"] if len(looked_up) == 1 else ["127.0.0.1"]

    network = Recorder(httpx.Response(200, text="fine"))
    async with httpx.AsyncClient(transport=PublicOnlyTransport(network, resolver=rebinding)) as client:
        await client.get("https://name.example/page?q=1")
    assert looked_up == [("name.example", 443)]
    request = network.seen[0]
    assert str(request.url) == "https://93.184.216.34/page?q=1"
    assert request.headers["host"] == "name.example"
    assert request.extensions["sni_hostname"] == "name.example"


async def test_a_redirect_to_a_private_address_is_refused() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["93.184.216.34"] if host == "name.example" else await resolve(host, port)

    network = Recorder(httpx.Response(302, headers={"Location": "http://169.254.169.254/latest/meta-data"}))
    guard = PublicOnlyTransport(network, resolver=resolver)
    async with httpx.AsyncClient(transport=guard, follow_redirects=True) as client:
        with pytest.raises(ToolException, match="public internet"):
            await client.get("https://name.example/")
    assert len(network.seen) == 1


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["2606:4700:4700::1111", "1.1.1.1"]

    network = Recorder(httpx.ConnectError("no route"), httpx.Response(200))
    async with httpx.AsyncClient(transport=PublicOnlyTransport(network, resolver=resolver)) as client:
        assert (await client.get("http://two.example/")).status_code == 200
    assert [request.url.host for request in network.seen] == ["2606:4700:4700::1111", "1.1.1.1"]


async def test_an_unknown_host_is_an_error_not_a_crash() -> None:
    # Offline, the resolver says "try again"; with a network, "no such host".
    with pytest.raises(ToolException, match="does-not-exist") as caught:
        await resolve("does-not-exist.invalid", 80)
    assert isinstance(caught.value, ToolUnavailable) or "Check the address" in str(caught.value)
    with pytest.raises(ToolException, match="no valid host name"):
        await resolve("a" * 70 + ".example", 80)
