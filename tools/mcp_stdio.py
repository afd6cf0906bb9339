"""An MCP server as a process of ours, spoken to over its standard input and output.

The client library has a transport of its own for this, which keeps the process to itself and asks it to end with
pauses in between. A run that is cancelled in one of these pauses then waits for a server that does not listen. Here
nothing has to be awaited for the server to be gone: whatever happens meanwhile, its process group is killed.
"""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import anyio
from anyio.abc import Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from anyio.streams.text import TextReceiveStream, TextSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage

logger = logging.getLogger(__name__)

Incoming: TypeAlias = SessionMessage | Exception
"""A message of the server, or what is wrong with a line of it."""

_GRACE = 1.0
"""Seconds that a server has to end: after its input was closed, and after it was told to terminate."""


@asynccontextmanager
async def stdio_server(
    connection: Mapping[str, Any],
) -> AsyncIterator[tuple[MemoryObjectReceiveStream[Incoming], MemoryObjectSendStream[SessionMessage]]]:
    """Start a server, and leave none of its process group behind.

    A server ends with its input; one that does not, or whose call failed, is terminated, and then killed.

    Args:
        connection: Its `command` and `args`; also `env` (`${NAME}` in a value stands for a variable of ours), `cwd`
            and `encoding`.

    Returns:
        The streams that a client session reads from and writes to.

    Raises:
        OSError: the command cannot be started.
    """
    process = await anyio.open_process(
        [connection["command"], *connection["args"]],
        env={**get_default_environment(), **_expanded(connection.get("env") or {})},
        cwd=connection.get("cwd"),
        stderr=None,
        start_new_session=True,
    )
    encoding = connection.get("encoding", "utf-8")
    arrived, incoming = anyio.create_memory_object_stream[Incoming](0)
    outgoing, to_send = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as tasks, incoming, outgoing:
            tasks.start_soon(_read, process, arrived, encoding)
            tasks.start_soon(_write, process, to_send, encoding)
            yield incoming, outgoing
            tasks.cancel_scope.cancel()
        await _ended(process, close_input=True)
    finally:
        try:
            if process.returncode is None:
                _signal(process, signal.SIGTERM)
                await _ended(process)
        finally:
            _signal(process, signal.SIGKILL)
            await process.aclose()


def _expanded(variables: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: re.sub(r"\$\{([^}]+)\}", lambda match: os.environ.get(match[1], match[0]), str(value))
        for name, value in variables.items()
    }


async def _read(process: Process, arrived: MemoryObjectSendStream[Incoming], encoding: str) -> None:
    """Hand on each line of the server's output; a line that is no message goes on as the reason."""
    assert process.stdout is not None
    rest = ""
    async with arrived:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for chunk in TextReceiveStream(process.stdout, encoding, errors="replace"):
                *lines, rest = (rest + chunk).split("\n")
                for line in lines:
                    await arrived.send(_message(line))


def _message(line: str) -> Incoming:
    try:
        return SessionMessage(JSONRPCMessage.model_validate_json(line))
    except ValueError as error:
        logger.debug("A line of an MCP server is no message: %r", line)
        return error


async def _write(process: Process, to_send: MemoryObjectReceiveStream[SessionMessage], encoding: str) -> None:
    assert process.stdin is not None
    async with to_send:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            stdin = TextSendStream(process.stdin, encoding)
            async for each in to_send:
                await stdin.send(each.message.model_dump_json(by_alias=True, exclude_none=True) + "\n")


async def _ended(process: Process, *, close_input: bool = False) -> None:
    """Wait until the process has ended, for the grace period at most."""
    with anyio.move_on_after(_GRACE):
        if close_input and process.stdin is not None:
            await process.stdin.aclose()
        await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    """Signal the whole process group: a launcher (npx, uvx, sh) may have gone before its server."""
    with suppress(ProcessLookupError, PermissionError):  # the group is empty; macOS says so in the second way
        os.killpg(process.pid, number)
