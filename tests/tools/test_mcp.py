"""Against a real MCP server, started over stdio as a user's configuration would."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import ToolException

from tools.card import card_of, time_limit_of
from tools.errors import ToolUnavailable
from tools.mcp import _connection, _shown, load_mcp_tools

pytest.importorskip("langchain_mcp_adapters", reason="needs the extra `mcp`")

SERVER = '''
import asyncio, os
from mcp.server.fastmcp import FastMCP

server = FastMCP("numbers")

@server.tool()
def add(a: int, b: int) -> str:
    """Adds two whole numbers."""
    return f"{os.environ.get('PREFIX', '')}{a + b}"

@server.tool()
def fail(reason: str) -> str:
    """Always fails."""
    raise ValueError(reason)

@server.tool()
async def sleep(seconds: float) -> str:
    """Sleeps."""
    await asyncio.sleep(seconds)
    return "awake"

@server.tool()
def die() -> str:
    """Ends the server."""
    os._exit(3)

server.run()
'''


@pytest.fixture
def server(tmp_path: Path) -> dict[str, Any]:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    return {"command": sys.executable, "args": [str(script)]}


@pytest.fixture
def config(server: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"numbers": {**server, "env": {"PREFIX": "= "}}}}))
    return path


async def test_tools_of_a_server_become_ours(config: Path, no_blocking: None) -> None:
    tools = {tool.name: tool for tool in await load_mcp_tools(config, time_limit=30)}
    assert set(tools) == {"add", "fail", "sleep", "die"}
    assert tools["add"].description == "Adds two whole numbers."
    assert set(tools["add"].args) == {"a", "b"}
    assert card_of(tools["add"]).input == "a, b"
    assert time_limit_of(tools["add"]) == 35
    assert await tools["add"].ainvoke({"a": 2, "b": 3}) == "= 5"
    with pytest.raises(ToolException, match="because") as caught:
        await tools["fail"].ainvoke({"reason": "because"})
    assert not isinstance(caught.value, ToolUnavailable)


async def test_a_server_that_hangs_or_dies_is_unavailable(server: dict[str, Any]) -> None:
    tools = {tool.name: tool for tool in await load_mcp_tools({"mcpServers": {"numbers": server}}, time_limit=8)}
    with pytest.raises(ToolUnavailable, match="'numbers' did not answer within 8 s"):
        await tools["sleep"].ainvoke({"seconds": 60})
    with pytest.raises(ToolUnavailable, match="'numbers' failed"):
        await tools["die"].ainvoke({})


async def test_equal_names_get_their_servers_name(server: dict[str, Any]) -> None:
    tools = await load_mcp_tools({"mcpServers": {"one": server, "two": server}})
    assert {"one_add", "two_add"} <= {tool.name for tool in tools}
    add = next(tool for tool in tools if tool.name == "two_add")
    assert add.invoke({"a": 1, "b": 1}) == "2"


class Broken(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_error(500)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def broken() -> Iterator[str]:
    """Host and port of a server that always fails."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{service.server_port}"
        service.shutdown()


async def test_errors_tell_no_secrets_of_the_configuration(
    server: dict[str, Any], broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"http://me:passw0rd@{broken}/mcp/s3cret-path?api_key=s3cret-key"
    remote = {"url": url, "headers": {"Authorization": "Bearer s3cret-bearer"}}
    with pytest.raises(ValueError, match=f"500.*{broken}") as refused:
        await load_mcp_tools({"mcpServers": {"remote": remote}})
    echo = f"401 for '{url}' with s3cret-bearer"
    assert _shown(echo, _connection("remote", remote)) == f"401 for 'http://{broken}' with [key]"
    local = {**server, "env": {"SERVICE_TOKEN": "s3cret-token"}}
    tools = await load_mcp_tools({"mcpServers": {"local": local, "remote": remote}})
    fail = next(tool for tool in tools if tool.name == "fail")
    with pytest.raises(ToolException, match="because of") as failed:
        await fail.ainvoke({"reason": "because of s3cret-token"})
    assert "Its tools are left out" in caplog.text
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("tools.")]
    assert "s3cret" not in f"{refused.value} {failed.value} {logged}"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "names no servers"),
        ({"mcpServers": {}}, "names no servers"),
        ({"mcpServers": {"x": {}}}, "'x' needs either"),
        ({"mcpServers": {"x": {"command": "a", "url": "b"}}}, "'x' needs either"),
        ({"mcpServers": {"x": {"command": ["a"]}}}, "\"command\" of the MCP server 'x' has to be a text"),
        ({"mcpServers": {"x": {"command": "a", "args": "-v"}}}, '"args" .* a list'),
        ({"mcpServers": {"x": {"command": "a", "env": ["A=1"]}}}, '"env" .* an object'),
        ({"mcpServers": {"x": {"url": "http://host/mcp", "headers": ["A: 1"]}}}, '"headers" .* an object'),
        ({"mcpServers": {"x": {"url": "http://[::1/mcp"}}}, "\"url\" of the MCP server 'x' is no address"),
        ({"mcpServers": {"x": {"url": "http://h", "type": "pigeon"}}}, "'pigeon'"),
        ({"mcpServers": {"x": {"command": "no-such-program-anywhere"}}}, "'x' could not be used"),
        ("missing.json", "cannot be read"),
    ],
)
async def test_a_bad_configuration_is_explained(config: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        await load_mcp_tools(config)


async def test_a_bad_file_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{oops")
    with pytest.raises(ValueError, match="not valid JSON"):
        await load_mcp_tools(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="no object"):
        await load_mcp_tools(path)


async def test_a_missing_extra_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_mcp_adapters.sessions", None)
    with pytest.raises(ValueError, match=r"pip install langchain-mcp-adapters"):
        await load_mcp_tools(config)
