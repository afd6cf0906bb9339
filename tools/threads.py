"""Plain functions on daemon threads.

Python cannot end a thread. A function that never returns would keep a place in the event loop's own small pool, which
everything else in the process shares and which the loop waits for when it closes. These threads keep nobody waiting.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from tools.counts import many

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
                member = threading.Thread(target=self._serve, name=f"plain-{len(self._members)}", daemon=True)
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
            logger.warning("%s not returned; the process ends them.", many(hanging, "function has", "functions have"))


def _call(future: Future[Any], function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        value = function()
    except StopIteration as error:  # asyncio's futures take none
        problem = RuntimeError("the function raised StopIteration")
        problem.__cause__ = error
        future.set_exception(problem)
    except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
        future.set_exception(error)
    else:
        future.set_result(value)


_threads = DaemonThreads()


def _renew() -> None:
    """In a forked child, which has none of its parent's threads."""
    global _threads
    _threads = DaemonThreads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


async def on_own_thread(function: Callable[..., T], *args: Any) -> T:
    """Call a function on a daemon thread, with the caller's context variables, and wait for its result.

    A cancelled caller waits no longer; the function runs to its end, if it has one.
    """
    return await asyncio.wrap_future(_threads.submit(contextvars.copy_context().run, function, *args))
