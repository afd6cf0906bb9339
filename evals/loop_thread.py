"""An event loop on a thread of its own, for many runs at once that somebody else's code takes part in.

The code of tools, nodes and rewards may hang, block or exit. A plain function that hangs holds its thread and nothing
else: neither closing the loop nor the end of the process waits for it. `sys.exit()` ends the task that called it, not
the loop, which would leave all others without an answer.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MOST_THREADS = 1024
"""Plain functions (tools, nodes, rewards) that run at once. Each that waits holds a thread, and asyncio's own pool has
cores + 4, so that many runs would queue for them, inside their time limits. A thread is made when none is free."""

GRACE = 5.0
"""Seconds that tasks, and then threads, have to end when the loop is closed."""


class DaemonThreads(ThreadPoolExecutor):
    """Threads that the end of the process does not wait for, made when none is free.

    Args:
        most: Maximum number of threads.
    """

    def __init__(self, most: int = MOST_THREADS) -> None:
        super().__init__(most)  # it starts no thread before its own `submit`
        self._most = most
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._counts = threading.Lock()
        self._members: list[threading.Thread] = []
        self._free = 0
        self._queued = 0
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function on a free thread, on a new one, or on the first that becomes free.

        Raises:
            RuntimeError: It has been shut down.
        """
        future: Future[T] = Future()
        with self._counts:
            if self._closed:
                raise RuntimeError("These threads have been shut down.")
            self._work.put((future, partial(fn, *args, **kwargs)))
            if self._free:
                self._free -= 1
            elif len(self._members) < self._most:
                member = threading.Thread(target=self._serve, name=f"run_{len(self._members)}", daemon=True)
                self._members.append(member)
                member.start()
            else:
                self._queued += 1
        return future

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            _call(*work)
            del work  # or its result would live on while nothing is to be done
            with self._counts:
                if self._queued:
                    self._queued -= 1
                else:
                    self._free += 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; with `wait`, give the rest a grace period (`GRACE`)."""
        with self._counts:
            self._closed = True
        if cancel_futures:
            with suppress(queue.Empty):
                while True:
                    if (work := self._work.get_nowait()) is not None:
                        work[0].cancel()
        for _ in self._members:
            self._work.put(None)
        ends = time.monotonic() + GRACE
        for member in self._members if wait else ():
            member.join(max(0.0, ends - time.monotonic()))
        if wait and (hanging := sum(member.is_alive() for member in self._members)):
            logger.warning("Functions of %d runs have not returned; they end with the process.", hanging)


def _call(future: Future[Any], function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        value = function()
    except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
        future.set_exception(error)
    else:
        future.set_result(value)


class LoopThread:
    """Runs coroutines on one loop, which engines and collectors are bound to; closed once at the end.

    Args:
        prepare: Is called first on the loop's thread, e.g. to choose its GPU.
    """

    def __init__(self, prepare: Callable[[], None] | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._prepare = prepare
        self._stopped = False
        self._thread = threading.Thread(target=self._serve, name="runs", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        self._loop.set_default_executor(DaemonThreads())
        if self._prepare is not None:
            self._prepare()
        while not self._stopped:
            with suppress(SystemExit):  # of somebody's code; the task that called it has it as its error, too
                self._loop.run_forever()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin a coroutine and return at once."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, begun: Future[T]) -> T:
        """Its result; an interrupt here cancels it."""
        try:
            return begun.result()
        finally:
            begun.cancel()  # without effect on one that has ended

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self.wait(self.start(work))

    def close(self) -> None:
        """Cancel what still runs, wait for it a while (`GRACE`), and stop the loop."""
        if self._loop.is_closed():
            return
        with suppress(TimeoutError):
            self.start(self._end_others()).result(4 * GRACE)
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(GRACE)
        if self._thread.is_alive():
            logger.warning("Somebody's coroutine blocks the event loop; it ends with the process.")
        else:
            self._loop.close()

    def _stop(self) -> None:
        self._stopped = True
        self._loop.stop()

    async def _end_others(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            if not task.cancelling():  # a second time would interrupt its clearing up
                task.cancel()
        if others:
            ended, _ = await asyncio.wait(others, timeout=GRACE)
            for task in ended:
                if not task.cancelled():
                    task.exception()  # which nobody waits for any more
        with suppress(TimeoutError):
            await asyncio.wait_for(self._loop.shutdown_asyncgens(), GRACE)
        await self._loop.shutdown_default_executor()


def run_on_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own, like `asyncio.run` on this thread; an interrupt cancels it."""
    loop = LoopThread()
    try:
        return loop.run(work)
    finally:
        loop.close()
