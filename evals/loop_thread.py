"""An event loop on a thread of its own, for many runs at once that somebody else's code takes part in.

The code of tools, nodes and rewards may hang, block or exit. A plain function that hangs holds its thread and nothing
else: neither closing the loop nor the end of the process waits for it. `sys.exit()` ends the task that called it, not
the loop, which would leave all others without an answer.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from tools.threads import GRACE, DaemonThreads

logger = logging.getLogger(__name__)

T = TypeVar("T")


class LoopThread:
    """Runs coroutines on one loop, which engines and collectors are bound to; closed once at the end.

    Args:
        prepare: Is called first on the loop's thread, e.g. to choose its GPU; what it raises is raised here.
    """

    def __init__(self, prepare: Callable[[], None] | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopped = False
        self._thread = threading.Thread(target=self._serve, name="runs", daemon=True)
        self._thread.start()
        if prepare is not None:
            try:
                self.run(_called(prepare))
            except BaseException:
                self.close()
                raise

    def _serve(self) -> None:
        self._loop.set_default_executor(DaemonThreads())
        while not self._stopped:
            # Raised by somebody's code; the task that called it has it as its error, too.
            with suppress(SystemExit, KeyboardInterrupt):
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
        self._loop.call_soon(self._loop.stop)  # after the first step of a coroutine that came in just before

    async def _end_others(self) -> None:
        if self._stopped:  # the loop was blocked until now, and `close` waits no longer
            return
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


async def _called(function: Callable[[], None]) -> None:
    function()


def run_on_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own, like `asyncio.run` on this thread; an interrupt cancels it."""
    loop = LoopThread()
    try:
        return loop.run(work)
    finally:
        loop.close()
