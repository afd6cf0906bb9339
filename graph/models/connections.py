"""One HTTP connection pool per event loop, and one background event loop for synchronous callers.

A pool is kept alive by an async generator suspended on its loop: `asyncio.run`, and everything else that shuts down a
loop properly, closes such generators (`loop.shutdown_asyncgens`). Connections thus end with their loop, and no caller
needs to call `close()`. Synchronous callers use the background loop, so there is only one way to talk to a server.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextvars
import os
import threading
from collections.abc import AsyncGenerator, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

if TYPE_CHECKING:
    import aiohttp

MAX_CONNECTIONS: Final = 512
"""Open connections per event loop, below the usual limit of 1,024 file descriptors; further requests wait."""
KEEP_ALIVE: Final = 4.0
"""Seconds an idle connection is kept; uvicorn and llama.cpp drop them after 5 s."""
LONGEST_EVENT: Final = 2**22
"""Maximum bytes of a server-sent event: a reply's first may contain the token ids of a long prompt."""

T = TypeVar("T")


Lifetime: TypeAlias = "AsyncGenerator[aiohttp.ClientSession, None]"
_sessions: dict[asyncio.AbstractEventLoop, tuple[aiohttp.ClientSession, Lifetime]] = {}


async def open_session() -> aiohttp.ClientSession:
    """The connection pool of the running loop; opened on first use, closed with the loop."""
    loop = asyncio.get_running_loop()
    held = _sessions.get(loop)
    if held is None:
        for stale in [other for other in _sessions if other.is_closed()]:
            del _sessions[stale]
        lifetime = _session_lifetime(loop)
        held = _sessions[loop] = (await anext(lifetime), lifetime)
    return held[0]


async def _session_lifetime(loop: asyncio.AbstractEventLoop) -> Lifetime:
    import aiohttp

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=LONGEST_EVENT // 2,
    )
    try:
        yield session
    finally:
        _sessions.pop(loop, None)
        await session.close()


class _BackgroundLoop:
    """An event loop in a daemon thread that runs coroutines for synchronous callers."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` and wait; an interrupt (Ctrl-C) of the waiting thread cancels it."""
        loop, context = self._started(), contextvars.copy_context()

        async def under_callers_context() -> T:  # streaming, tracing and interrupts use context variables
            return await loop.create_task(work, context=context)

        future = asyncio.run_coroutine_threadsafe(under_callers_context(), loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                ready: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
                self._thread = threading.Thread(target=self._serve, args=(ready,), name="agentflow-sync", daemon=True)
                self._thread.start()
                self._loop = ready.result()
                atexit.register(self._stop)
            return self._loop

    def _serve(self, ready: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
        async def until_stopped() -> None:
            self._stopped = asyncio.Event()
            ready.set_result(asyncio.get_running_loop())
            await self._stopped.wait()

        asyncio.run(until_stopped())

    def _stop(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(timeout=2.0)


_background = _BackgroundLoop()


def _forget_background_loop() -> None:
    """A forked child inherits the object, but not the thread."""
    global _background
    _background = _BackgroundLoop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_background_loop)


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on the background loop, with the caller's context variables, and wait for the result."""
    return _background.run(work)
