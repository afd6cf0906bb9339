"""A real web server on this machine, for the tools that fetch."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest


@dataclass
class Reply:
    """What the server answers."""

    body: bytes | str = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[[dict[str, str]], Reply]
"""Makes a reply from the query parameters."""


class Site:
    """The server: set `pages`, read `requests`."""

    def __init__(self) -> None:
        self.pages: dict[str, Reply | Answer] = {}
        self.requests: list[str] = []
        """The paths asked for, with their queries, in order."""
        self.agents: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append(self.path)
                site.agents.append(self.headers["User-Agent"])
                parts = urlsplit(self.path)
                page = site.pages.get(parts.path, Reply("gone", 404))
                if callable(page):
                    page = page({key: values[0] for key, values in parse_qs(parts.query).items()})
                body = page.body.encode() if isinstance(page.body, str) else page.body
                self.send_response(page.status)
                for name, value in {"Content-Length": str(len(body)), **page.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # a client that gives up is part of the tests
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet: pytest shows what failed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    yield server
    server.close()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def no_blocking() -> Iterator[None]:
    """Makes a blocking call in the event loop an error, as `langgraph dev` does."""
    blockbuster = pytest.importorskip("blockbuster", reason="needs blockbuster, which comes with langgraph-cli[inmem]")
    with blockbuster.blockbuster_ctx():
        yield
