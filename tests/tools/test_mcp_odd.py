"""MCP servers that answer in odd ways: what they say is told, and what is unusable takes nothing else down.

The server is a script that answers with the bare messages of a test, so that it can break the protocol.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.tools import ToolException

from graph import Context, build_graph
from tests.graph.conftest import calls_text, plan_text, script
from tools.arguments import complaint
from tools.card import card_of
from tools.errors import ToolUnavailable
from tools.mcp import load_mcp_tools
from tools.mcp_results import Answer

pytest.importorskip("langchain_mcp_adapters", reason="needs the extra `mcp`")

SERVER = textwrap.dedent(
    """
    import json, sys

    script = json.loads(open(sys.argv[1]).read())
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request:
            continue
        method, params = request["method"], request.get("params") or {}
        error = None
        if method == "initialize":
            info = {"name": "odd", "version": "1"}
            result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
        elif method == "tools/list":
            page = int(params.get("cursor", 0))
            result = {"tools": script["pages"][page]}
            if page + 1 < len(script["pages"]):
                result["nextCursor"] = str(page + 1)
        else:
            result = script["results"].get(params["name"])
            if result is None:
                result = {"content": [{"type": "text", "text": json.dumps(params["arguments"], ensure_ascii=False)}]}
            error = result.get("error")
        body = result.get("body") or ({"error": error} if error else {"result": result})
        print("a line of a log", '{"id": 1, "level": "info"}', sep="\\n")
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **body}), flush=True)
    """
)

Serve = Callable[..., dict[str, Any]]
POINT = {"type": "object", "properties": {"lat": {"type": "number"}}}


@pytest.fixture
def odd(tmp_path: Path) -> Serve:
    """The configuration of a server with these pages of tools and these results."""

    def make(*pages: list[Any], **results: Any) -> dict[str, Any]:
        (tmp_path / "server.py").write_text(SERVER)
        path = tmp_path / f"script{len(list(tmp_path.iterdir()))}.json"
        path.write_text(json.dumps({"pages": pages, "results": results}))
        return {"command": sys.executable, "args": [str(tmp_path / "server.py"), str(path)]}

    return make


def listed(name: str, schema: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"The tool {name}.", "inputSchema": schema or {"type": "object"}, **more}


async def test_tools_with_odd_schemas_can_be_called(odd: Serve) -> None:
    fields = {"self": {}, "config": {}, "run_manager": {}, "runtime": {"type": "integer"}, "type": {}}
    server = odd(
        [
            listed("bare"),
            {"name": "nothing at all"},
            listed("tags", {"type": "object", "properties": {"tags": {"$ref": "#/definitions/tags"}},
                            "required": None, "definitions": {"tags": {"type": "array", "items": {"type": "string"}}}}),
            listed("route", {"type": "object", "properties": {"start": POINT, "end": {"$ref": "#/properties/start"}}}),
            listed("天气", {"type": "object", "properties": {"城市": {"type": "string"}}, "required": ["城市"]}),
        ],
        [listed("reserved", {"type": "object", "properties": fields})],
    )  # fmt: skip
    tools = {tool.name: tool for tool in await load_mcp_tools({"mcpServers": {"odd": server}})}
    assert [card_of(tool).input for tool in tools.values()] == [
        "nothing",
        "nothing",
        "tags",
        "start {lat}, end {lat}",
        "城市",
        "self, config, run_manager, runtime, type",
    ]
    assert complaint(tools["tags"], {"tags": [1]}) is not None
    given: dict[str, Any] = {"self": 1, "config": {"a": 1}, "run_manager": None, "runtime": 3, "type": "x"}
    assert json.loads(await tools["reserved"].ainvoke(given)) == given
    assert json.loads(await tools["天气"].ainvoke({"城市": "北京"})) == {"城市": "北京"}
    assert tools["bare"].invoke({}) == "{}"


async def test_an_unusable_tool_takes_no_other_down(odd: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = odd([{"description": "nameless"}, "no tool", listed("list", {"type": "array"}), listed("text", "x"),
                  listed("type", {"type": 5}),
                  listed("good"), listed("good")])  # fmt: skip
    with caplog.at_level(logging.WARNING, "tools.mcp"):
        tools = await load_mcp_tools({"mcpServers": {"odd": server}})
    assert [tool.name for tool in tools] == ["good"]
    told = "\n".join(record.message for record in caplog.records)
    assert told.count("of the MCP server 'odd' cannot be used and is left out") == 6
    assert (
        "The tool 'list' of the MCP server 'odd' cannot be used and is left out: its arguments are of the type array"
        in told
    )


@pytest.mark.parametrize(
    "broken",
    [
        {"command": "no-such-program-anywhere"},
        {"command": sys.executable, "args": ["-c", "pass"]},
        {"command": sys.executable, "args": ["-c", "print('hello')"]},
        {"command": "a", "url": "b"},
        {"url": "http://127.0.0.1:9/mcp"},
        "no server",
    ],
)
async def test_a_broken_server_takes_no_other_down(odd: Serve, broken: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tools.mcp"):
        tools = await load_mcp_tools({"mcpServers": {"broken": broken, "good": odd([listed("tool")])}}, time_limit=20)
    assert [tool.name for tool in tools] == ["tool"]
    [told] = [record.message for record in caplog.records if record.name == "tools.mcp"]
    assert told.startswith("The MCP server 'broken'")
    assert told.endswith("Its tools are left out.")


async def test_a_listing_that_breaks_the_protocol_is_told_in_a_line(odd: Serve) -> None:
    server = odd({"t": 1})  # type: ignore[arg-type]  # an object in place of a list
    with pytest.raises(ValueError, match="its reply is not of the protocol: `tools`: Input should be a") as caught:
        await load_mcp_tools({"mcpServers": {"odd": server}}, time_limit=20)
    assert "\n" not in str(caught.value)


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def resource(**fields: Any) -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": "file:///a", **fields}}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"content": [text("a"), text("b")]}, "a\nb"),
        ({"content": []}, ""),
        ({"content": [], "structuredContent": {"temperature": 21}}, '{"temperature": 21}'),
        ({"structuredContent": {"temperature": 21}}, '{"temperature": 21}'),
        ({"structuredContent": [1, 2]}, "[1, 2]"),
        ({"content": [text('{"a": 1}')], "structuredContent": {"a": 1}}, '{"a": 1}'),
        ({"content": [text("5")], "structuredContent": {"result": 5}}, "5"),
        ({"content": [text("1"), text("x")], "structuredContent": {"result": [1, "x"]}}, "1\nx"),
        ({"content": [text("2 rows")], "structuredContent": {"rows": [1, 2]}}, '2 rows\n{"rows": [1, 2]}'),
        ({"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}, text("a sign")]},
         "[image content (image/png), not shown]\na sign"),
        ({"content": [{"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}]},
         "[audio content (audio/wav), not shown]"),
        ({"content": [resource(text="the file says 42")]}, "the file says 42"),
        ({"content": [resource(blob=encoded(b"a,b\n1,2"), mimeType="text/csv")]}, "a,b\n1,2"),
        ({"content": [resource(blob=encoded(b"\0\xff"), mimeType="image/png")]},
         "[resource file:///a (image/png), not shown]"),
        ({"content": [resource(blob="no base64")]}, "[resource file:///a, not shown]"),
        ({"content": [{"type": "resource_link", "uri": "file:///b", "name": "b", "description": "a log"}]},
         "[b at file:///b: a log]"),
        ({"content": [{"type": "hologram", "data": 1}]}, "[hologram content, not shown]"),
        ({"content": ["bare", None, {"type": "new", "text": "kind"}]}, "bare\nkind"),
        ({"content": text("alone")}, "alone"),
        ({"content": "alone"}, "alone"),
    ],
)  # fmt: skip
def test_answers(answer: dict[str, Any], told: str) -> None:
    assert Answer.model_validate(answer).text == told


async def test_errors_of_calls(odd: Serve) -> None:
    server = odd(
        [listed(name) for name in ("fails", "silent", "refuses", "structured")],
        fails={"content": [text("no such city")], "isError": True},
        silent={"content": [], "isError": True},
        refuses={"error": {"code": -32602, "message": "city is unknown"}},
        structured={"content": [], "structuredContent": {"why": "closed"}, "isError": True},
    )
    tools = {tool.name: tool for tool in await load_mcp_tools({"mcpServers": {"odd": server}})}
    for name, words in (
        ("fails", "no such city"),
        ("silent", "silent failed and did not say why"),
        ("refuses", "refuses refuses the call: city is unknown"),
        ("structured", '{"why": "closed"}'),
    ):
        with pytest.raises(ToolException, match=words) as caught:
            await tools[name].ainvoke({})
        assert not isinstance(caught.value, ToolUnavailable)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"result": None}, "`result`: Input should be an object"),
        ({"result": "4"}, "`result`: Input should be an object"),
        ({"error": "no"}, "`error`: Input should be an object"),
    ],
)
async def test_a_reply_that_breaks_the_protocol_is_told_at_once(odd: Serve, body: Any, words: str) -> None:
    [tool] = await load_mcp_tools({"mcpServers": {"odd": odd([listed("tool")], tool={"body": body})}})
    began = time.monotonic()
    with pytest.raises(ToolUnavailable, match=f"'odd' failed .its reply is not of the protocol: {words}"):
        await tool.ainvoke({})
    assert time.monotonic() - began < 30  # the limit is 60


STUBBORN = textwrap.dedent(
    """
    import json, os, pathlib, signal, sys, time

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        request = json.loads(line)
        if request["method"] == "tools/call":
            pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
            time.sleep(120)
        info = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "stubborn", "version": "1"}}
        result = {**info, "tools": [{"name": "tool"}]}
        if "id" in request:
            print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
    """
)


@pytest.mark.parametrize("from_outside", [3.0, 6.0, None])  # while it is asked, while it is left, not at all
@pytest.mark.parametrize("launcher", [[sys.executable], ["/bin/sh", "-c", '"$0" "$@"; true', sys.executable]])
async def test_a_server_that_does_not_end_is_killed(
    tmp_path: Path, launcher: list[str], from_outside: float | None
) -> None:
    (tmp_path / "server.py").write_text(STUBBORN)
    command, *args = [*launcher, str(tmp_path / "server.py"), str(tmp_path / "pid")]
    config = {"mcpServers": {"stubborn": {"command": command, "args": args}}}
    [tool] = await load_mcp_tools(config, time_limit=5.5)
    began = time.monotonic()
    with pytest.raises((TimeoutError, ToolUnavailable)):
        async with asyncio.timeout(from_outside):
            await tool.ainvoke({})
    assert time.monotonic() - began < 15
    server = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    async with asyncio.timeout(30):  # a killed process takes a moment to go
        while server.exists() and server.read_text().rpartition(")")[2].split()[0] != "Z":
            await asyncio.sleep(0.05)


class Unending(BaseHTTPRequestHandler):
    """A server over HTTP that answers everything but calls and goodbyes."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if request["method"] == "tools/call":
            self.do_DELETE()
        info = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "unending", "version": "1"}}
        result = {**info, "tools": [{"name": "tool"}]}
        body = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}) if "id" in request else ""
        self.send_response(200 if body else 202)
        for name, value in ("Content-Type", "application/json"), ("Mcp-Session-Id", "1"), ("Content-Length", len(body)):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_DELETE(self) -> None:
        time.sleep(120)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Talkative(Unending):
    """A server over HTTP whose answers to calls are pages for people."""

    kind = "application/json"

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        sent = self.rfile.read(length)
        if json.loads(sent)["method"] != "tools/call":
            self.rfile = io.BytesIO(sent)
            super().do_POST()
            return
        page = b"<html>Come back later.</html>"
        self.send_response(200)
        for name, value in ("Content-Type", self.kind), ("Content-Length", str(len(page))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(page)

    def do_DELETE(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


class TalkativeInHtml(Talkative):
    """The same, and says so."""

    kind = "text/html"


@pytest.mark.parametrize(
    ("server", "words"), [(Talkative, "its reply is no JSON"), (TalkativeInHtml, "Unexpected content type: text/html")]
)
async def test_a_reply_over_http_that_is_no_json_is_told_at_once(
    server: type[BaseHTTPRequestHandler], words: str
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), server) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        config = {"mcpServers": {"odd": {"url": f"http://127.0.0.1:{service.server_port}/mcp"}}}
        [tool] = await load_mcp_tools(config)
        began = time.monotonic()
        with pytest.raises(ToolUnavailable, match=words):
            await tool.ainvoke({})
        assert time.monotonic() - began < 30  # the limit is 60
        service.shutdown()


async def test_a_server_that_does_not_hear_the_goodbye_is_left() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Unending) as service:
        service.daemon_threads, service.block_on_close = True, False
        threading.Thread(target=service.serve_forever, daemon=True).start()
        config = {"mcpServers": {"unending": {"url": f"http://127.0.0.1:{service.server_port}/mcp"}}}
        began = time.monotonic()
        [tool] = await load_mcp_tools(config, time_limit=15)
        assert time.monotonic() - began < 14
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await tool.ainvoke({})
        assert time.monotonic() - began < 14
        service.shutdown()


async def test_keys_of_a_server_are_not_shown(odd: Serve) -> None:
    [tool] = await load_mcp_tools({"mcpServers": {"odd": {**odd([listed("tool")]), "env": {"KEY": "s3cret"}}}})
    assert "s3cret" not in repr(tool) + str(tool.model_dump()) + str(tool.metadata)


async def test_structured_content_of_the_adapters_own_tools_is_told(odd: Serve) -> None:
    from langchain_mcp_adapters.client import MultiServerMCPClient

    from evals.speed.fake_server import FakeModelServer

    server = odd([listed("weather")], weather={"content": [], "structuredContent": {"temperature": 21}})
    tools = await MultiServerMCPClient({"odd": {**server, "transport": "stdio"}}).get_tools()  # type: ignore[dict-item]
    with FakeModelServer(script(planner=plan_text("weather"), executor=calls_text({})), 0.0) as models:
        context = Context(model=models.spec, max_turns=1)
        state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=context)
    assert state["memory"][0]["calls"][0]["result"] == '{"temperature": 21}'


BLOCKS = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "resource", "blob", "uri", "data", "mimeType"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional={"content": BLOCKS, "structuredContent": BLOCKS, "isError": BLOCKS}))
@example({"structuredContent": [{"type": []}]})
@example({"content": {"type": None, "resource": {"blob": "\x80"}}})
def test_whatever_a_server_answers_has_a_text(answer: dict[str, Any]) -> None:
    assert isinstance(Answer.model_validate(answer).text, str)
