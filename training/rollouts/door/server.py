"""The door: an OpenAI-compatible server in the trainer, for agents in any framework or language.

    POST  /ROLLOUT/v1/chat/completions    GET  /ROLLOUT/v1/models
    POST  /ROLLOUT/ROLE/v1/...            the same, for clients that cannot choose the model's name

Each rollout has its own base URL, since every client has a setting for the base URL and few have one for headers, and
its own key, which is valid until the run ends. Tokens never leave the trainer: replies are sampled and recorded by
`PolicyChat`. The server runs on the event loop of the rollouts, from the first rollout to the end of the loop.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from aiohttp import web

from graph.errors import ConfigError
from training.rollouts.door.requests import Refused, read_request
from training.rollouts.door.responses import Answer, error_body, model, models
from training.rollouts.door.session import Session, ended

LONGEST_REQUEST = 2**25
"""Size limit of a request in bytes."""


@dataclass(frozen=True)
class Address:
    """The address of the door."""

    host: str
    port: int
    """0: any free port."""

    @classmethod
    def of(cls, text: str) -> Address:
        """Parses `HOST`, `HOST:PORT` or `[HOST]:PORT`.

        Raises:
            ConfigError: another form.
        """
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, parts.port or 0
        except ValueError:
            host, port = None, 0
        if not host or "/" in text:
            raise ConfigError(f"agent_listen is {text!r}; write HOST or HOST:PORT, e.g. 127.0.0.1:8900.")
        return cls(host, port)

    def bound(self) -> socket.socket:
        """A listening socket.

        Raises:
            ConfigError: the address cannot be used.
        """
        try:
            [(family, *_, place), *_] = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            return socket.create_server(place[:2], family=family, backlog=1024)
        except OSError as error:
            raise ConfigError(
                f"The door for agents cannot listen at {self.host}:{self.port}: {error.strerror or error}. Choose "
                "another address with agent_listen."
            ) from error

    def url(self, port: int) -> str:
        """The URL for agents; a listener on all interfaces is reached by the name of this machine."""
        host = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Door:
    """Serves the policies of the rollouts of one process.

    Args:
        address: where to listen.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._sessions: dict[str, Session] = {}
        self._serving: tuple[asyncio.AbstractEventLoop, asyncio.Task[str], AsyncGenerator[str, None]] | None = None
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def opened(self, session: Session) -> AsyncIterator[str]:
        """Serves a rollout and yields its base URL; on exit the rollout is closed.

        Raises:
            ConfigError: the door cannot listen.
        """
        self._sessions[session.name] = session
        try:
            yield f"{await self._address_of_server()}/{session.name}/v1"
        finally:
            session.close()
            del self._sessions[session.name]

    async def _address_of_server(self) -> str:
        loop = asyncio.get_running_loop()
        if self._serving is None or self._serving[0] is not loop:
            lifetime = self._lifetime()
            self._serving = (loop, loop.create_task(_first(lifetime)), lifetime)
        try:
            return await asyncio.shield(self._serving[1])
        except ConfigError:
            self._serving = None
            raise

    async def _lifetime(self) -> AsyncGenerator[str, None]:
        """Runs the server and yields its URL; closed at the end of the loop (`loop.shutdown_asyncgens`)."""
        listener = self._address.bound()
        app = web.Application(client_max_size=LONGEST_REQUEST)
        app.router.add_route("*", "/{path:.*}", self._answered)
        # If a client disconnects, its call is cancelled: a reply that nobody has read is not trained.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
        try:
            await runner.setup()
            await web.SockSite(runner, listener).start()
            yield self._address.url(listener.getsockname()[1])
        finally:
            await runner.cleanup()
            listener.close()

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        try:
            session, role, rest = self._authorised(request)
            try:
                return await self._served(request, session, role, rest)
            except Refused as refusal:
                session.refusals.append(refusal)
                raise
        except Refused as refusal:
            return web.json_response(error_body(refusal), status=refusal.status)

    def _authorised(self, request: web.Request) -> tuple[Session, str | None, str]:
        """The rollout, the role in the path if there is one, and the rest of the path."""
        name, _, rest = request.rel_url.raw_path.lstrip("/").partition("/")
        session = self._sessions.get(name)
        if session is None or session.closed:
            raise ended()
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not session.opened_by(key.strip()):
            raise Refused("The key does not open this rollout.", status=401, code="invalid_api_key")
        role, _, later = rest.partition("/")
        return (session, None, rest) if role == "v1" else (session, unquote(role), later)

    async def _served(self, request: web.Request, session: Session, role: str | None, rest: str) -> web.StreamResponse:
        if role is not None and role not in session.roles:
            raise Refused(
                f"There is no role {role!r}; the roles are {', '.join(session.roles)}.",
                status=404, code="model_not_found",
            )  # fmt: skip
        version, _, what = rest.strip("/").partition("/")
        names = session.roles if role is None else (role,)
        if version == "v1" and request.method == "GET" and what == "models":
            return web.json_response(models(names))
        if version == "v1" and request.method == "GET" and what.startswith("models/"):
            return web.json_response(model(session.role_of(unquote(what.removeprefix("models/")))))
        if version == "v1" and request.method == "POST" and what == "chat/completions":
            return await self._completed(request, session, role)
        raise Refused(
            f"{request.method} {rest[:80]} is not served here: there are POST v1/chat/completions and GET v1/models. "
            "Set the client to chat completions.",
            code="unknown_url",
        )

    async def _completed(self, request: web.Request, session: Session, role: str | None) -> web.StreamResponse:
        try:
            data = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise Refused(f"The request has more than {LONGEST_REQUEST} bytes.", status=413, code="too_large") from None
        asked = read_request(data)
        message = await session.reply(role or session.role_of(asked.model), asked)
        answer = Answer(message, f"chatcmpl-{next(self._numbers)}", asked.model or session.roles[0])
        if not asked.streamed:
            return web.json_response(answer.completion())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        for event in answer.stream(usage=asked.usage_in_stream):
            await response.write(event)
        await response.write_eof()
        return response


async def _first(lifetime: AsyncGenerator[str, None]) -> str:
    return await anext(lifetime)
