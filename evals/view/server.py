"""Serves the page to this machine only.

It listens on 127.0.0.1, only answers GET, and only under its own host name, so foreign pages whose name resolves to
this address (DNS rebinding) are refused. Requests refer to sets and runs by number, never by path, so path traversal
is impossible.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web

from evals.view.documents import Unreadable
from evals.view.library import Library, Unknown
from evals.view.page import SERVED_POLICY, asset, served_page
from evals.view.values import write
from graph.errors import ConfigError

_LIVE_SECONDS = 1.0
"""Interval in seconds at which files are checked."""

_HEADERS = {
    "Content-Security-Policy": SERVED_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The page's server; an async context manager.

    Args:
        library: Its content.
        port: The port; 0 means any free port.

    Raises:
        ConfigError: on entry, the port is not available.
    """

    def __init__(self, library: Library, port: int = 0) -> None:
        self._library = library
        self.port = port
        app = web.Application(middlewares=[self._guard])
        for path, handler in {
            "/": self._page,
            "/static/{name}": self._static,
            "/api/overview": self._answers(lambda _: library.overview()),
            "/api/rows": self._answers(lambda ask: library.rows(ask("source"), ask("start"))),
            "/api/run": self._answers(lambda ask: library.run(ask("source"), ask("run"), ask("generation"))),
            "/api/facts": self._answers(lambda ask: library.facts(ask("source"))),
            "/api/search": self._search,
            "/api/compare": self._compare,
        }.items():
            app.router.add_get(path, handler, allow_head=False)
        self._runner = web.AppRunner(app, access_log=None)
        self._looking: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/"

    async def __aenter__(self) -> Server:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"The port {self.port} cannot be had ({error.strerror}); choose another --port."
            ) from None
        self.port = self._runner.addresses[0][1]
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._looking:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        await self._runner.cleanup()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LIVE_SECONDS)
            await asyncio.to_thread(self._library.refresh)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse
        if request.host not in (f"127.0.0.1:{self.port}", f"localhost:{self.port}"):
            response = web.Response(status=403, text="This page is served under its own address only.")
        elif request.method != "GET":
            response = web.Response(status=405, text="Only GET is answered.", headers={"Allow": "GET"})
        else:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = web.Response(status=error.status, text=f"{error.status} {error.reason}: the page is at /\n")
        response.headers.update(_HEADERS)
        return response

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text=served_page(), content_type="text/html", charset="utf-8")

    async def _static(self, request: web.Request) -> web.Response:
        try:
            data, media_type = asset(request.match_info["name"])
        except KeyError:
            raise web.HTTPNotFound from None
        return web.Response(body=data, headers={"Content-Type": media_type})

    async def _search(self, request: web.Request) -> web.Response:
        source, query = _number(request, "source"), request.query.get("query", "")
        return await _json(lambda: self._library.search(source, query))

    async def _compare(self, request: web.Request) -> web.Response:
        a, b = request.query.get("a", ""), request.query.get("b", "")
        return await _json(lambda: self._library.compare(a, b))

    def _answers(self, answer: Callable[[Callable[[str], int]], Any]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            return await _json(lambda: answer(lambda name: _number(request, name)))

        return handle


def _number(request: web.Request, name: str) -> int:
    """A number from the query; 0 if it is missing."""
    text = request.query.get(name, "0")
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise web.HTTPBadRequest
    return int(text)


async def _json(answer: Callable[[], Any]) -> web.Response:
    """A response that is prepared in a thread, because it reads files."""
    try:
        body = await asyncio.to_thread(lambda: write(answer()))
    except (Unknown, Unreadable, OSError):
        raise web.HTTPNotFound from None
    return web.Response(body=body, content_type="application/json", charset="utf-8")
