"""Tools of MCP servers, through `langchain-mcp-adapters` and the client library it brings (the extra `mcp`).

A server is started, or connected to, anew for each call: calls are independent and a hanging server dies with its call.
A server that must keep state between calls needs a transport of its own (HTTP) that keeps it. A server that does not
work, and a tool that cannot be used, are left out with a warning: the others serve.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from langchain_core.tools import BaseTool, ToolException
from pydantic import BaseModel, Field, ValidationError

from tools.card import ToolCard
from tools.errors import ToolUnavailable
from tools.http import run
from tools.mcp_results import Answer
from tools.passages import RESULT_CHARS
from tools.results import error_text
from tools.schemas import Schema, outline, self_contained
from tools.secrecy import bears_key, without_credentials

if TYPE_CHECKING:
    from mcp import ClientSession
    from mcp.client.session import MessageHandlerFnT

logger = logging.getLogger(__name__)

_TRANSPORTS = {
    "stdio": "stdio",
    "http": "streamable_http",
    "streamable-http": "streamable_http",
    "streamable_http": "streamable_http",
    "sse": "sse",
    "websocket": "websocket",
}
_FIELDS = ("command", "args", "env", "cwd", "encoding", "url", "headers")
_FORMS: dict[str, tuple[type, str]] = {
    "args": (list, "a list of texts"),
    "env": (Mapping, "an object"),
    "headers": (Mapping, "an object"),
}
"""What the fields are that are no texts."""
_GRACE = 2.0
"""Seconds in which a call leaves its server, after its answer or its time limit."""
_CONNECTION_CLOSED = -32000
_MOST_PAGES = 1000


@dataclass(frozen=True)
class _Definition:
    """A tool as its server lists it."""

    name: str
    description: str
    schema: Schema


class McpTool(BaseTool):
    """A tool of an MCP server. Any name may be an argument of it, also those that LangChain's own tools reserve."""

    request: Callable[[dict[str, Any]], Awaitable[str]] = Field(repr=False, exclude=True)
    """Calls the server with the arguments of one call. Holds the server's keys, so it is never shown."""

    def _run(self, /, **arguments: Any) -> str:
        return run(self._arun(**arguments))

    async def _arun(self, /, **arguments: Any) -> str:
        return await self.request(arguments)


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
        ValueError: the configuration cannot be used, none of its servers does, or the extra is not installed.
    """
    servers = _servers(await asyncio.to_thread(_read, config))
    try:
        await asyncio.to_thread(_import_client)
    except ImportError as error:
        raise ValueError(
            f"MCP tools need a package, which cannot be imported ({error}): run `pip install langchain-mcp-adapters`, "
            "and give no file of yours the name mcp.py."
        ) from error
    listings = await asyncio.gather(*(_listing(name, server, time_limit) for name, server in servers.items()))
    problems = [listing for listing in listings if isinstance(listing, str)]
    if len(problems) == len(listings):
        raise ValueError(" ".join(problems))
    for problem in problems:
        logger.warning("%s Its tools are left out.", problem)
    tools = [
        (name, definition)
        for name, listing in zip(servers, listings, strict=True)
        if not isinstance(listing, str)
        for definition in listing
    ]
    count = Counter(definition.name for _, definition in tools)
    return [_tool(server, servers[server], each, count[each.name] > 1, time_limit, max_chars) for server, each in tools]


def _import_client() -> None:
    import langchain_mcp_adapters.sessions  # noqa: F401


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


def _servers(config: Mapping[str, Any]) -> Mapping[str, Any]:
    servers = config.get("mcpServers")
    if not isinstance(servers, Mapping) or not servers:
        raise ValueError('The MCP configuration names no servers. Write {"mcpServers": {"name": {"command": "..."}}}.')
    return servers


def _connection(name: str, server: Any) -> dict[str, Any]:
    """A server of a configuration in the form that the adapters take."""
    if not isinstance(server, Mapping) or ("command" in server) == ("url" in server):
        raise ValueError(f'The MCP server {name!r} needs either a "command" or a "url".')
    kind = server.get("transport", server.get("type", "stdio" if "command" in server else "http"))
    if kind not in _TRANSPORTS:
        raise ValueError(f"The MCP server {name!r} has the transport {kind!r}; use one of {', '.join(_TRANSPORTS)}.")
    connection = {field: server[field] for field in _FIELDS if field in server}
    if "command" in server:
        connection.setdefault("args", [])
    for field, value in connection.items():
        form, words = _FORMS.get(field, (str, "a text"))
        if not isinstance(value, form) and not (value is None and field in ("env", "cwd", "headers")):
            raise ValueError(f'"{field}" of the MCP server {name!r} has to be {words}.')
    try:
        urlsplit(connection.get("url", ""))
    except ValueError as error:
        raise ValueError(f'"url" of the MCP server {name!r} is no address ({error}).') from None
    return {**connection, "transport": _TRANSPORTS[kind]}


async def _listing(name: str, server: Any, time_limit: float) -> list[_Definition] | str:
    """The tools of a server, or a sentence that says why there are none."""
    try:
        connection = _connection(name, server)
    except ValueError as error:
        return str(error)
    try:
        listed = await _listed(connection, time_limit)
    except TimeoutError:
        return f"The MCP server {name!r} did not list its tools within {time_limit:g} s."
    except Exception as error:  # noqa: BLE001 - a server and its transport may fail in any way
        return f"The MCP server {name!r} could not be used ({_cause(error, connection)}). Check its command or address."
    tools: dict[str, _Definition] = {}
    for item in listed:
        try:
            definition = _definition(name, item)
            if definition.name in tools:
                raise ValueError("its name is there twice")
            tools[definition.name] = definition
        except Exception as error:  # noqa: BLE001 - a schema may be odd in any way
            called = item.get("name") if isinstance(item, Mapping) else None
            logger.warning("The tool %r of the MCP server %r cannot be used and is left out: %s.", called, name, error)
    return list(tools.values())


@asynccontextmanager
async def _session(connection: dict[str, Any], time_limit: float) -> AsyncIterator[ClientSession]:
    """A connection to a server, ready for requests. Leaving it takes a grace period at most, however it is left.

    Raises:
        TimeoutError: the time limit is over.
        _BadReply: a reply of the server is not of the protocol. The client library waits on for another one.
    """
    import anyio

    replies = anyio.CancelScope()
    problem: Exception | None = None
    done = False

    async def received(message: object) -> None:
        nonlocal problem
        if isinstance(message, ValidationError) and (words := _broken_reply(message, connection["transport"])):
            problem = _BadReply(words)
        elif isinstance(message, Exception) and not isinstance(message, ValidationError):  # of the transport
            problem = message
        else:
            return
        replies.cancel()

    try:
        async with (
            asyncio.timeout(None) as leaving,
            asyncio.timeout(time_limit),
            _connected(connection, received) as session,
        ):
            try:
                with replies:
                    await session.initialize()
                    yield session
                    done = True
            except Exception as error:
                problem = error
                raise
            finally:
                leaving.reschedule(asyncio.get_running_loop().time() + _GRACE)
    except TimeoutError:
        if not (done or problem):  # otherwise only leaving took too long
            raise
    if problem is not None and not done:
        raise problem


@asynccontextmanager
async def _connected(connection: dict[str, Any], received: MessageHandlerFnT) -> AsyncIterator[ClientSession]:
    from langchain_mcp_adapters.sessions import create_session
    from mcp import ClientSession

    if connection["transport"] == "stdio" and os.name == "posix":
        from tools.mcp_stdio import stdio_server

        async with stdio_server(connection) as streams, ClientSession(*streams, message_handler=received) as session:
            yield session
    else:
        settings: Any = {**connection, "session_kwargs": {"message_handler": received}}
        async with create_session(settings) as session:
            yield session


class _BadReply(Exception):
    """A reply of a server that is not of the protocol."""


def _broken_reply(error: ValidationError, transport: str) -> str:
    """What is wrong with a message that replies to a request; empty for any other, such as a line of a log."""
    problems = error.errors(include_url=False)
    if transport != "stdio" and problems[0]["type"] == "json_invalid":
        return "its reply is no JSON"
    message = next((each["input"] for each in problems if each["type"] == "missing" and len(each["loc"]) == 2), None)
    if not isinstance(message, Mapping) or "id" not in message:
        return ""
    kind = "JSONRPCError" if "error" in message else "JSONRPCResponse" if "result" in message else ""
    return next((_broken(each["loc"][1:], each["msg"]) for each in problems if each["loc"][0] == kind), "")


def _broken(place: Sequence[int | str], words: str) -> str:
    return f"its reply is not of the protocol: `{'.'.join(map(str, place))}`: {words}"


class _Page(BaseModel):
    """The result of `tools/list`, its tools unread: one that breaks the protocol must not hide the others."""

    tools: list[Any] = []
    nextCursor: str | None = None  # noqa: N815 - the protocol's name


async def _listed(connection: dict[str, Any], time_limit: float) -> list[Any]:
    listed: list[Any] = []
    async with _session(connection, time_limit) as session:
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await session.send_request(_message("tools/list", {"cursor": cursor} if cursor else None), _Page)
            listed += page.tools
            cursor = page.nextCursor
            if not cursor:
                break
    return listed


def _message(method: str, params: dict[str, Any] | None) -> Any:
    from mcp.types import ClientRequest

    return ClientRequest.model_validate({"method": method} | ({"params": params} if params else {}))


def _definition(server: str, item: Any) -> _Definition:
    """A listed tool, if it can be used.

    Raises:
        ValueError: it has no name, or its arguments are no object.
    """
    if not isinstance(item, Mapping) or not isinstance(item.get("name"), str) or not item["name"].strip():
        raise ValueError("it has no name")
    name, schema = item["name"], item.get("inputSchema")
    if schema is not None and not isinstance(schema, Mapping):
        raise ValueError("its input schema is no object")
    description = str(item.get("description") or item.get("title") or f"The tool {name} of the server {server}.")
    return _Definition(name, description, self_contained(schema or {}))


def _tool(
    server: str, settings: Any, definition: _Definition, has_namesake: bool, time_limit: float, max_chars: int
) -> BaseTool:
    connection = _connection(server, settings)

    async def request(arguments: dict[str, Any]) -> str:
        answer = await _answer(server, connection, definition.name, arguments, time_limit)
        text = answer.text if len(answer.text) <= max_chars else answer.text[: max_chars - 2] + " …"
        if answer.isError:
            raise ToolException(_shown(text, connection) or f"{definition.name} failed and did not say why")
        return text

    return McpTool(
        name=f"{server}_{definition.name}" if has_namesake else definition.name,
        description=definition.description,
        args_schema=definition.schema,
        request=request,
        metadata={"card": ToolCard(input=outline(definition.schema) or "nothing"), "time_limit": time_limit + 5},
    )


async def _answer(
    server: str, connection: dict[str, Any], tool: str, arguments: dict[str, Any], time_limit: float
) -> Answer:
    """What the server says to one call.

    Raises:
        ToolException: the server refuses the call.
        ToolUnavailable: the server does not work.
    """
    from mcp import McpError

    refusal: McpError | None = None
    answer = Answer()
    try:
        async with _session(connection, time_limit) as session:
            try:
                call = _message("tools/call", {"name": tool, "arguments": arguments})
                answer = await session.send_request(call, Answer)
            except McpError as error:  # told below: what leaves the session comes out as a group
                refusal = error
    except TimeoutError:
        raise ToolUnavailable(f"The MCP server {server!r} did not answer within {time_limit:g} s.") from None
    except Exception as error:
        raise ToolUnavailable(f"The MCP server {server!r} failed ({_cause(error, connection)}).") from error
    if refusal is None:
        return answer
    if refusal.error.code == _CONNECTION_CLOSED:
        raise ToolUnavailable(f"The MCP server {server!r} failed ({_cause(refusal, connection)}).") from refusal
    raise ToolException(f"{tool} refuses the call: {_shown(refusal.error.message, connection)}") from refusal


def _cause(error: BaseException, connection: Mapping[str, Any]) -> str:
    """What a server or its transport failed with; the MCP client's task groups wrap it in groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, _BadReply):
        return str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return _broken(first["loc"], first["msg"])
    return _shown(error_text(error), connection)


def _shown(text: str, connection: Mapping[str, Any]) -> str:
    """A text about a server without what is secret in its configuration; its address may hold a key anywhere."""
    if address := str(connection.get("url", "")):
        parts = urlsplit(address)
        text = text.replace(address, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
    headers = [word for value in (connection.get("headers") or {}).values() for word in str(value).split()]
    variables = {name: str(value) for name, value in (connection.get("env") or {}).items()}
    return without_credentials(text, [*headers, *(v for name, v in variables.items() if bears_key(name, v))])
