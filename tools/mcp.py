"""Tools of MCP servers, through `langchain-mcp-adapters` (the extra `mcp`).

A server is started, or connected to, anew for each call: calls are independent and a hanging server dies with its call.
A server that must keep state between calls needs a transport of its own (HTTP) that keeps it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from tools.card import ToolCard
from tools.errors import ToolUnavailable
from tools.http import run
from tools.passages import RESULT_CHARS

_TRANSPORTS = {
    "stdio": "stdio",
    "http": "streamable_http",
    "streamable-http": "streamable_http",
    "streamable_http": "streamable_http",
    "sse": "sse",
    "websocket": "websocket",
}
_FIELDS = ("command", "args", "env", "cwd", "encoding", "url", "headers")


async def load_mcp_tools(
    config: Mapping[str, Any] | str | Path, *, time_limit: float = 60.0, max_chars: int = 2 * RESULT_CHARS
) -> list[BaseTool]:
    """Connect to the servers of a configuration and make their tools ours.

    Each tool keeps its name, description and schema; where two servers have a tool of the same name, both get their
    server's name in front. Results become plain text.

    Args:
        config: The usual form, `{"mcpServers": {"name": {"command": ..., "args": [...]} or {"url": ...}}}`, or the path
            of a JSON file that holds it.
        time_limit: Seconds a call may take, and seconds each server has to start and list its tools.
        max_chars: Characters of a result; the rest is cut.

    Raises:
        ValueError: the configuration cannot be used, a server does not start, or the extra is not installed.
    """
    connections = _connections(await asyncio.to_thread(_read, config))
    try:
        client_class = await asyncio.to_thread(_client_class)
    except ImportError as error:
        raise ValueError("MCP tools need the extra `mcp`: pip install 'agentflow-langgraph[mcp]'.") from error
    found: list[tuple[str, BaseTool]] = []
    for name, connection in connections.items():
        try:
            async with asyncio.timeout(time_limit):
                tools = await client_class({name: connection}).get_tools(server_name=name)
        except TimeoutError:
            raise ValueError(f"The MCP server {name!r} did not list its tools within {time_limit:g} s.") from None
        except Exception as error:
            raise ValueError(
                f"The MCP server {name!r} could not be used ({_cause(error)}). Check its command or address."
            ) from error
        found += [(name, tool) for tool in tools]
    count = Counter(tool.name for _, tool in found)
    return [
        _adopt(tool, f"{server}_{tool.name}" if count[tool.name] > 1 else tool.name, server, time_limit, max_chars)
        for server, tool in found
    ]


def _client_class() -> Any:
    from langchain_mcp_adapters.client import MultiServerMCPClient

    return MultiServerMCPClient


def _read(config: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    if isinstance(config, Mapping):
        return config
    try:
        parsed = json.loads(Path(config).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"The MCP configuration {config} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ValueError(f"The MCP configuration {config} is not valid JSON: {error}.") from None
    if not isinstance(parsed, dict):
        raise ValueError(f'The MCP configuration {config} is no object. Write {{"mcpServers": {{...}}}}.')
    return parsed


def _connections(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The servers of a configuration in the form that the adapters take."""
    servers = config.get("mcpServers")
    if not isinstance(servers, Mapping) or not servers:
        raise ValueError('The MCP configuration names no servers. Write {"mcpServers": {"name": {"command": "..."}}}.')
    connections = {}
    for name, server in servers.items():
        if not isinstance(server, Mapping) or ("command" in server) == ("url" in server):
            raise ValueError(f'The MCP server {name!r} needs either a "command" or a "url".')
        kind = server.get("transport", server.get("type", "stdio" if "command" in server else "http"))
        if kind not in _TRANSPORTS:
            raise ValueError(
                f"The MCP server {name!r} has the transport {kind!r}; use one of {', '.join(_TRANSPORTS)}."
            )
        connection = {field: server[field] for field in _FIELDS if field in server}
        if "command" in server:
            connection.setdefault("args", [])
        connections[name] = {**connection, "transport": _TRANSPORTS[kind]}
    return connections


def _adopt(tool: BaseTool, name: str, server: str, time_limit: float, max_chars: int) -> BaseTool:
    """The adapters' tool with a synchronous form, text as its result, our errors, a card and a time limit."""
    call = tool.coroutine if isinstance(tool, StructuredTool) else None
    if call is None or tool.args_schema is None:
        raise TypeError(f"langchain-mcp-adapters made no asynchronous StructuredTool of {tool.name!r}.")

    async def acall(**arguments: Any) -> str:
        try:
            async with asyncio.timeout(time_limit):
                content, _ = await call(**arguments)
        except ToolException:
            raise
        except TimeoutError:
            raise ToolUnavailable(f"The MCP server {server!r} did not answer within {time_limit:g} s.") from None
        except Exception as error:
            raise ToolUnavailable(f"The MCP server {server!r} failed ({_cause(error)}).") from error
        text = _text(content)
        return text if len(text) <= max_chars else text[: max_chars - 2] + " …"

    def sync_call(**arguments: Any) -> str:
        return run(acall(**arguments))

    arguments = ", ".join(tool.args) or "nothing"
    return StructuredTool(
        name=name,
        description=tool.description or f"The tool {tool.name} of the server {server}.",
        args_schema=tool.args_schema,
        func=sync_call,
        coroutine=acall,
        metadata={"card": ToolCard(input=arguments), "time_limit": time_limit + 5},
    )


def _text(content: Any) -> str:
    """The text of an MCP result; what is no text is named, so that its absence is no riddle."""
    if isinstance(content, str):
        return content
    parts = []
    for block in content:
        if isinstance(block, str):
            parts.append(block)
        elif block.get("type") == "text":
            parts.append(str(block.get("text", "")))
        else:
            parts.append(f"[{block.get('type', 'unknown')} content, not shown]")
    return "\n".join(parts)


def _cause(error: BaseException) -> str:
    """The first real error inside the groups that the MCP client's task groups make."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
