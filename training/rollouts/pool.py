"""Several processes for rollouts, where one event loop would be the limit.

Each process has its own event loop and rolls out its share of a step's tasks, whole groups at a time; rollouts, seeds
and failures are those of one process, since they depend on step, task and place in the group alone. The processes are
started at the first job, ignore Ctrl-C (the trainer hangs up), and end when their connection closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from evals.task import Task
from graph.errors import ModelError
from training.engines.vllm.sampler import Lent
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
from training.rollouts.collector import CollectorSettings
from training.rollouts.records import Rollout
from training.rollouts.store import RolloutStore
from training.rollouts.tail import Tail

_FAREWELL = 5.0
"""Seconds that a process has to end when its connection has closed."""


class LendingEngine(Protocol):
    """An engine whose servers other processes can use; it is their `Mender` as well."""

    def lent(self) -> AbstractAsyncContextManager[Lent]:
        """What they need, as long as it is held."""

    def count(self, requests: int, prompt_tokens: int, sampled_tokens: int) -> None:
        """Add what they have sampled to the figures."""


@dataclass
class _Job:
    """Rollouts under way in all processes."""

    left: int
    """Processes that still work."""
    tail: Tail
    on_rollout: Callable[[Rollout], None] | None
    done: asyncio.Future[None]
    rollouts: list[Rollout] = field(default_factory=list)


class Pool:
    """The processes.

    Args:
        number: how many.
        engine: what samples.
        make: makes the collectors in each process; it must survive pickling.
    """

    def __init__(self, number: int, engine: LendingEngine, make: MakeCollectors) -> None:
        self.number = number
        self._engine = engine
        self._make = pickle.dumps(make)
        self._processes: list[_Process] = []
        self._jobs: dict[int, _Job] = {}
        self._numbers = itertools.count()
        self._starting = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def job(self, tail: Tail, on_rollout: Callable[[Rollout], None] | None) -> AsyncIterator[tuple[int, _Job]]:
        """A number under which all processes can work; they are told to stop if it is left early."""
        number = next(self._numbers)
        job = _Job(len(self._processes), tail, on_rollout, asyncio.get_running_loop().create_future())
        self._jobs[number] = job
        tail.on_hurry = lambda ends: self._send_all(Hurry(number, ends))
        try:
            yield number, job
        finally:
            del self._jobs[number]
            if job.left:
                self._send_all(Cancel(number))

    async def collect(
        self,
        collector: str,
        step: int,
        tasks: Sequence[Task],
        spares: Sequence[Sequence[Task]],
        tail: Tail,
        on_rollout: Callable[[Rollout], None] | None,
    ) -> list[Rollout]:
        """The rollouts of these tasks, in order; see `Collector.collect`."""
        async with self._engine.lent() as lent:
            await self._started(lent)
            async with self.job(tail, on_rollout) as (number, job):
                for process in self._processes:
                    share, *further = [list(round_)[process.number :: self.number] for round_ in (tasks, *spares)]
                    process.send(Collect(number, collector, step, share, further, lent))
                await job.done
        place = {task.id: place for place, task in enumerate(chain(tasks, *spares))}
        return sorted(job.rollouts, key=lambda rollout: (place[rollout.task.id], rollout.index))

    async def aclose(self) -> None:
        """Ends the processes."""
        processes, self._processes = self._processes, []
        for process in processes:
            process.hang_up()
        for process in processes:
            await asyncio.to_thread(process.end)

    async def _started(self, lent: Lent) -> None:
        async with self._starting:
            if self._processes:
                return
            self._processes = [
                _Process(place, Start(self._make, place, self.number, lent), self) for place in range(self.number)
            ]
            await asyncio.gather(*(process.ready for process in self._processes))

    def _send_all(self, message: object) -> None:
        for process in self._processes:
            process.send(message)

    def heard(self, process: _Process, message: object) -> None:
        """A message of a process."""
        match message:
            case Said():
                logging.getLogger(message.logger).log(message.level, "%s", message.text)
            case Question():
                task = asyncio.ensure_future(self._answer(process, message))
                self._background.add(task)
                task.add_done_callback(self._background.discard)
            case More() if (job := self._jobs.get(message.job)) is not None:
                job.tail.expect(message.number)
            case Ended() if (job := self._jobs.get(message.job)) is not None:
                job.rollouts.append(message.rollout)
                job.tail.ended()
                if job.on_rollout is not None:
                    job.on_rollout(message.rollout)
            case Done():
                sampled = [int(message.sampled[name]) for name in ("requests", "prompt_tokens", "sampled_tokens")]
                self._engine.count(*sampled)
                if (job := self._jobs.get(message.job)) is not None:
                    job.left -= 1
                    self._settle(job, message.error)

    def _settle(self, job: _Job, error: Exception | None) -> None:
        if job.done.done():
            return
        if error is not None:
            job.done.set_exception(error)
        elif not job.left:
            job.done.set_result(None)

    async def _answer(self, process: _Process, question: Question) -> None:
        try:
            value = await getattr(self._engine, question.method)(*question.arguments)
            process.send(Answer(question.number, value))
        except Exception as error:  # noqa: BLE001 - whose run it is, decides
            process.send(Answer(question.number, None, sendable(error)))

    def lost(self, process: _Process) -> None:
        """A process has ended by itself."""
        if process not in self._processes:
            return
        error = ModelError(
            f"Process {process.number + 1} of {self.number} for rollouts has ended ({process.how_it_ended()}); give "
            "the same command again, with a smaller rollout_processes if the machine was out of memory."
        )
        if not process.ready.done():
            process.ready.set_exception(error)
        for job in self._jobs.values():
            self._settle(job, error)


class _Process:
    """One of them, as the trainer sees it."""

    def __init__(self, number: int, start: Start, pool: Pool) -> None:
        self.number = number
        self._pool = pool
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        ours, theirs = socket.socketpair()
        environment = os.environ | _ENVIRONMENT
        with theirs:
            self._popen = subprocess.Popen(  # noqa: S603 - a fixed command
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), *sys.path],
                pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, env=environment,
            )  # fmt: skip
        self._loop = loop
        self._channel = Channel(ours, self._heard, self._closed, loop)
        self._channel.send(start)

    def send(self, message: object) -> None:
        """Send a message."""
        self._channel.send(message)

    def _heard(self, message: object) -> None:
        if isinstance(message, Ready):
            if message.error is not None:
                self.ready.set_exception(message.error)
            elif not self.ready.done():
                self.ready.set_result(None)
        else:
            self._pool.heard(self, message)

    def _closed(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, too
            self._loop.call_soon_threadsafe(self._pool.lost, self)

    def how_it_ended(self) -> str:
        """Its exit code, or the signal that ended it."""
        try:
            code = self._popen.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            return "it hung up"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def hang_up(self) -> None:
        """Close the connection, upon which it ends."""
        self._channel.close()

    def end(self) -> None:
        """Wait until it has ended."""
        try:
            self._popen.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from training.rollouts.worker import main; main()"
"""With the trainer's own path: a project that is not installed is found as well."""


class PooledRollouts:
    """New runs of the agent, made by a pool; see `training.rollouts.background.RolloutSource`.

    Args:
        pool: the processes.
        collector: name of the collector in each of them.
        settings: of the collector.
        store: where the processes write.
    """

    def __init__(self, pool: Pool, collector: str, settings: CollectorSettings, store: RolloutStore) -> None:
        self.pool = pool
        self.store = store
        self.settings = settings
        self._collector = collector

    @property
    def group_size(self) -> int:
        """G: rollouts of each task."""
        return self.settings.group_size

    async def collect(
        self,
        step: int,
        tasks: Sequence[Task],
        *,
        on_rollout: Callable[[Rollout], None] | None = None,
        spares: Sequence[Sequence[Task]] = (),
    ) -> list[Rollout]:
        """G runs of each task; see `Collector.collect`."""
        total = len(tasks) * self.group_size
        tail = Tail(total, self.settings.tail_fraction, self.settings.tail_seconds)
        return await self.pool.collect(self._collector, step, tasks, spares, tail, on_rollout)
