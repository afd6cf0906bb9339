"""The program of a process that only rolls out: `python -m training.rollouts.worker DESCRIPTOR`.

It holds the agent, the policy's chat template and a way to the vLLM servers, but no model; what it samples with it is
lent for each job (`training.engines.vllm.sampler`). It ends with the trainer, however that ends, since its connection
then closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import signal
import socket
import sys
import time

from evals.garbage import collect_less_often
from evals.loop_thread import run_on_thread
from tools.sandbox_limits import share_cores
from training.engines.vllm.sampler import LentEngine
from training.rollouts.channel import (
    Answer,
    Cancel,
    Channel,
    Collect,
    Done,
    Ended,
    Hurry,
    MakeCollectors,
    More,
    Question,
    Ready,
    Said,
    Start,
    sendable,
)
from training.rollouts.tail import Tail
from training.run.limits import open_more_files

_FAREWELL = 3.0
"""Seconds that runs have to end when the trainer is gone; sandboxed programs die with this process."""


class Worker:
    """Does the jobs that come over a connection."""

    def __init__(self, end: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = Channel(end, self._heard, self._leave, self._loop)
        self.gone = asyncio.Event()
        """Set when the trainer is gone."""
        logging.getLogger().addHandler(_Forward(self._channel))
        self._jobs: dict[int, tuple[asyncio.Task[None], Tail]] = {}
        self._questions: dict[int, asyncio.Future[object]] = {}
        self._numbers = itertools.count()

    def _heard(self, message: object) -> None:
        match message:
            case Start():
                self._channel.send(self._started(message))
            case Collect():
                tail, job = Tail(0, None, self._collectors[message.collector].settings.tail_seconds), message.job
                tail.on_more = lambda number: self._channel.send(More(job, number))
                self._jobs[message.job] = (asyncio.ensure_future(self._work(message, tail)), tail)
            case Hurry() if message.job in self._jobs:
                self._jobs[message.job][1].hurry(message.ends)
            case Cancel() if message.job in self._jobs:
                self._jobs[message.job][0].cancel()
            case Answer() if (waiting := self._questions.pop(message.number, None)) and not waiting.done():
                if message.error is None:
                    waiting.set_result(message.value)
                else:
                    waiting.set_exception(message.error)

    def _started(self, start: Start) -> Ready:
        share_cores(start.processes)
        try:
            make: MakeCollectors = pickle.loads(start.make)  # noqa: S301 - from the trainer
            self._engine = LentEngine(start.lent, self._ask, start.number)
            self._collectors = make(self._engine)
        except Exception as problem:  # noqa: BLE001 - the trainer's to handle
            return Ready(sendable(problem))
        collect_less_often()
        return Ready()

    async def _work(self, job: Collect, tail: Tail) -> None:
        error: Exception | None = None
        self._engine.renew(job.lent)
        try:
            await self._collectors[job.collector].collect(
                job.step,
                job.tasks,
                on_rollout=lambda rollout: self._channel.send(Ended(job.job, rollout)),
                spares=job.spares,
                tail=tail,
            )
        except Exception as problem:  # noqa: BLE001 - the trainer's to handle
            error = sendable(problem)
        finally:
            del self._jobs[job.job]
            self._channel.send(Done(job.job, await self._engine.figures(), error))

    def _leave(self) -> None:
        """The trainer is gone, and so is the reason for all that runs here; what does not end soon is ended."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self.gone.set)
        time.sleep(_FAREWELL)
        os._exit(0)

    async def _ask(self, method: str, arguments: tuple[object, ...]) -> object:
        number = next(self._numbers)
        waiting = self._questions[number] = asyncio.get_running_loop().create_future()
        self._channel.send(Question(number, method, arguments))
        return await waiting


class _Forward(logging.Handler):
    """Sends warnings to the trainer, whose terminal it is."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(logging.WARNING)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record as text, traceback included."""
        self._channel.send(Said(record.name, record.levelno, self.format(record)))


async def _serve(end: socket.socket) -> None:
    worker = Worker(end)
    await worker.gone.wait()  # what runs is then cancelled


def main() -> None:
    """Serves until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer, which then hangs up
    open_more_files()
    run_on_thread(_serve(socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
