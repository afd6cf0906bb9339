"""A model server without a model: OpenAI's chat protocol, a fixed latency, and replies from a function.

Benchmarks use it to measure everything but the model; tests use it to script replies and server failures. It recognises
the asking role by the opening of the system prompt, and replies in that role's format.

    python -m evals.speed.fake_server --latency-ms 50 --turns 3      # prints its address, serves until its stdin closes
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import re
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, MutableSequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from evals.garbage import collect_less_often

OPENINGS = {
    "You analyse": "analyst",
    "You are the planner": "planner",
    "You prepare": "executor",
    "You check": "verifier",
    "You write the final": "generator",
    "You write a report": "report",
    "You fill in a form": "structured_response",
}


@dataclass(frozen=True)
class ChatRequest:
    """One request for a chat completion."""

    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The prompt, as sent."""
        messages: list[dict[str, Any]] = self.body["messages"]
        return messages

    @cached_property
    def role(self) -> str:
        """Who asks, by `OPENINGS`, or `other`."""
        opening = str(self.messages[0]["content"])
        return next((role for words, role in OPENINGS.items() if opening.startswith(words)), "other")

    @property
    def turn(self) -> int:
        """Number of the turn in progress, from 1."""
        if self.role == "planner":
            return 1 + len([message for message in self.messages if message["role"] == "assistant"])
        return max((int(n) for n in re.findall(r"^Turn (\d+) \(", str(self.messages[-1]["content"]), re.M)), default=1)


@dataclass(frozen=True)
class ChatReply:
    """The server's answer; the defaults are those of a healthy server."""

    text: str
    finish_reason: str = "stop"
    status: int = 200
    raw: bytes | None = None
    """Sent instead of a well-formed body."""
    cut: bool = False
    """Whether the connection breaks in the middle of the body."""
    delay: float = 0.0
    """Seconds in addition to the server's latency."""
    pace: float = 0.0
    """Seconds between two pieces of a stream."""


Replier = Callable[[ChatRequest], "str | ChatReply | Awaitable[str | ChatReply]"]
"""Makes the reply to a request; one that awaits something is waited for, on the server's own loop."""


def scripted_run(turns: int) -> Replier:
    """Valid replies for runs of a given length that use the tools `compute` and `lookup` in turn."""

    def reply(request: ChatRequest) -> str:
        turn = request.turn
        if request.role == "planner":
            tool = "compute" if turn % 2 else "lookup"
            step = f"Justification: step {turn} is next.\nContext: item {turn}\nSub-Goal: find item {turn}"
            return f"{step}\nTool Name: {tool}"
        if request.role == "executor":
            return json.dumps({"calls": [{"query": str(hash(str(request.messages[-1]["content"])) % 10**6)}]})
        if request.role == "verifier":
            last = "stop" if turn >= turns else "continue"
            return json.dumps({"reason": "one more item is known", "result": "accept", "next": last})
        return "Answer: 42" if request.role == "generator" else "The question asks for some items, one after the other."

    return reply


class FakeModelServer:
    """The server, on a thread of its own; a context manager.

    Args:
        reply: Returns the reply to a request.
        latency: Seconds before each reply.
        keep: Number of requests to remember; None for all.

    Attributes:
        requests: The requests so far, in order of arrival.
    """

    def __init__(self, reply: Replier, latency: float = 0.0, keep: int | None = None) -> None:
        self._reply = reply
        self._latency = latency
        self.requests: MutableSequence[ChatRequest] = [] if keep is None else deque(maxlen=keep)
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL, up to `/v1`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def spec(self) -> str:
        """A model spec for this server."""
        return f"fake@{self.url}"

    def __enter__(self) -> FakeModelServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def asked(self, role: str) -> list[ChatRequest]:
        """The requests of one role."""
        return [request for request in self.requests if request.role == role]

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=2048))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                await self._answer(first.split(" ")[1], headers, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return  # the client is gone, or the server is stopping
        finally:
            writer.close()

    async def _answer(self, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
        if path.endswith("/models"):
            _send(writer, 200, json.dumps({"object": "list", "data": [{"id": "fake", "object": "model"}]}).encode())
            return
        request = ChatRequest(orjson.loads(body), headers)
        self.requests.append(request)
        scripted = self._reply(request)
        if inspect.isawaitable(scripted):
            scripted = await scripted
        reply = scripted if isinstance(scripted, ChatReply) else ChatReply(scripted)
        if self._latency + reply.delay:
            await asyncio.sleep(self._latency + reply.delay)
            if writer.is_closing():
                raise ConnectionAbortedError  # the client gave up meanwhile
        if reply.raw is not None or reply.status != 200:
            _send(
                writer,
                reply.status,
                reply.raw or json.dumps({"error": {"message": reply.text}}).encode(),
                cut=reply.cut,
            )
        elif request.body.get("stream"):
            await _stream(writer, request, reply)
        else:
            _send(writer, 200, orjson.dumps(_completion(request, reply)), cut=reply.cut)
        await writer.drain()
        if reply.cut:
            raise ConnectionAbortedError


def _usage(request: ChatRequest, text: str) -> dict[str, int]:
    prompt = sum(len(str(message["content"])) for message in request.messages) // 4
    return {"prompt_tokens": prompt, "completion_tokens": len(text) // 4, "total_tokens": prompt + len(text) // 4}


def _completion(request: ChatRequest, reply: ChatReply) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    return {
        "id": "fake",
        "object": "chat.completion",
        "created": 0,
        "model": "fake",
        "choices": [choice],
        "usage": _usage(request, reply.text),
    }


def _send(writer: asyncio.StreamWriter, status: int, body: bytes, *, cut: bool = False) -> None:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    writer.write(head + (body[: len(body) // 2] if cut else body))


async def _stream(writer: asyncio.StreamWriter, request: ChatRequest, reply: ChatReply) -> None:
    writer.write(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    pieces = re.findall(r"\S+\s*|\s+", reply.text) or [""]
    for index, piece in enumerate(pieces):
        finish = reply.finish_reason if index == len(pieces) - 1 else None
        _event(writer, {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": finish}]})
        if reply.pace:
            await writer.drain()
            await asyncio.sleep(reply.pace)
        if reply.cut:
            return
    if (request.body.get("stream_options") or {}).get("include_usage"):
        _event(writer, {"choices": [], "usage": _usage(request, reply.text)})
    end = b"data: [DONE]\n\n"
    writer.write(f"{len(end):x}\r\n".encode() + end + b"\r\n0\r\n\r\n")


def _event(writer: asyncio.StreamWriter, fields: dict[str, Any]) -> None:
    event = f"data: {json.dumps({'id': 'fake', 'model': 'fake', **fields})}\n\n".encode()
    writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")


def main() -> None:
    """Serve until standard input closes, so that the server never outlives its parent process."""
    parser = argparse.ArgumentParser(prog="python -m evals.speed.fake_server")
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    collect_less_often()
    with FakeModelServer(scripted_run(options.turns), options.latency_ms / 1000, keep=0) as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
