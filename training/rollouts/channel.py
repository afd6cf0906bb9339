"""Messages between the trainer and its processes for rollouts: pickled, over a pair of sockets.

Each side reads on a thread of its own and handles messages on its event loop, so that neither waits for the other.
Both sides are the same program on the same machine and trust each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from evals.task import Task
from graph.errors import AgentFlowError
from training.engines.base import Engine
from training.engines.vllm.sampler import Lent
from training.rollouts.collector import Collector
from training.rollouts.records import Rollout


@dataclass(frozen=True)
class Start:
    """The first message to a process."""

    make: bytes
    """Pickled: from an engine to the collectors by name (`MakeCollectors`)."""
    number: int
    """Of the process."""
    processes: int
    """How many there are."""
    lent: Lent


MakeCollectors = Callable[[Engine], Mapping[str, Collector]]


@dataclass(frozen=True)
class Collect:
    """Roll out some tasks of a step."""

    job: int
    collector: str
    step: int
    tasks: Sequence[Task]
    spares: Sequence[Sequence[Task]]
    lent: Lent


@dataclass(frozen=True)
class Hurry:
    """The stragglers of a job have until then, on the clock of `time.monotonic`."""

    job: int
    ends: float


@dataclass(frozen=True)
class Cancel:
    """Nobody waits for a job any more."""

    job: int


@dataclass(frozen=True)
class Ready:
    """The process has started, or could not."""

    error: Exception | None = None


@dataclass(frozen=True)
class More:
    """A job has more rollouts than it was told."""

    job: int
    number: int


@dataclass(frozen=True)
class Ended:
    """A rollout of a job."""

    job: int
    rollout: Rollout


@dataclass(frozen=True)
class Done:
    """A job has ended: with all its rollouts, or with an error."""

    job: int
    sampled: Mapping[str, float]
    """The engine's figures."""
    error: Exception | None = None


@dataclass(frozen=True)
class Question:
    """A repair that the engine is asked for."""

    number: int
    method: str
    arguments: tuple[object, ...]


@dataclass(frozen=True)
class Answer:
    """Its result."""

    number: int
    value: object
    error: Exception | None = None


@dataclass(frozen=True)
class Said:
    """A record of a logger."""

    logger: str
    level: int
    text: str


class Channel:
    """One side of a connection.

    Args:
        end: one end of a pair of sockets; closed with the channel.
        heard: called on the loop with each message.
        closed: called on the reading thread when the other side is gone.
        loop: where messages are handled.
    """

    def __init__(
        self,
        end: socket.socket,
        heard: Callable[[object], None],
        closed: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._end = end
        self._connection = Connection(os.dup(end.fileno()))
        self._heard = heard
        self._closed = closed
        self._loop = loop
        self._writing = threading.Lock()
        threading.Thread(target=self._read, name="rollouts-channel", daemon=True).start()

    def send(self, message: object) -> None:
        """Send a message; one to a side that is gone is lost."""
        data = pickle.dumps(message)
        try:
            with self._writing:
                self._connection.send_bytes(data)
        except OSError:
            return

    def close(self) -> None:
        """Hang up: the other side reads the end of the file, and so does the thread that reads here."""
        self._end.shutdown(socket.SHUT_RDWR)
        self._end.close()

    def _read(self) -> None:
        while True:
            try:
                message = pickle.loads(self._connection.recv_bytes())  # noqa: S301 - of our own process
            except (EOFError, OSError):
                with self._writing:
                    self._connection.close()
                self._closed()
                return
            try:
                self._loop.call_soon_threadsafe(self._heard, message)
            except RuntimeError:  # the loop is closed
                return


def sendable(error: BaseException) -> Exception:
    """The error, or one of its kind that survives the way."""
    with contextlib.suppress(Exception):  # whatever its class does
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - just pickled
        if isinstance(copy, Exception):
            return copy
    kinds = [known for known in type(error).__mro__ if known.__module__ == AgentFlowError.__module__]
    kind: type[Exception] = kinds[0] if kinds else RuntimeError
    return kind(str(error) or type(error).__name__)
