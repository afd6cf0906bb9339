"""Places for so many at once. Who waits for one is off the clock: the time limit around it stands still."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from tools.spans import note_span


class _Limit:
    """A time limit for as long as it holds."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self.timeout: asyncio.Timeout | None = timeout

    def pause(self) -> float | None:
        """Stop it; the seconds that are left of it, if it was running."""
        ends = self.timeout.when() if self.timeout else None
        if self.timeout is None or ends is None:
            return None
        self.timeout.reschedule(None)
        return ends - asyncio.get_running_loop().time()

    def go_on(self, seconds: float | None) -> None:
        """Let it run again."""
        if self.timeout is not None and seconds is not None:
            self.timeout.reschedule(asyncio.get_running_loop().time() + seconds)


_limit: ContextVar[_Limit | None] = ContextVar("time_limit", default=None)


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """`asyncio.timeout` that stands still while something inside waits `off_the_clock`.

    Raises:
        TimeoutError: the time was over.
    """
    async with asyncio.timeout(seconds) as timeout:
        limit = _Limit(timeout)
        token = _limit.set(limit)
        try:
            yield timeout
        finally:
            limit.timeout = None
            _limit.reset(token)


@contextmanager
def off_the_clock(what: str) -> Iterator[None]:
    """Around waiting that is nobody's working time; noted as a span under that name."""
    limit, began = _limit.get(), time.perf_counter()
    left = limit.pause() if limit is not None else None
    try:
        yield
    finally:
        note_span("wait", what, began)
        if limit is not None:
            limit.go_on(left)


class Places:
    """Lets so many in at once, in order of arrival, from any thread and event loop.

    Args:
        number: how many there are.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: deque[Future[None]] = deque()
        self._lock = threading.Lock()

    async def take(self) -> Place:
        """Wait for a place."""
        turn: Future[None] = Future()
        with self._lock:
            if self._free:
                self._free -= 1
                turn.set_result(None)
            else:
                self._waiting.append(turn)
        place = Place(self)
        try:
            await asyncio.wrap_future(turn)
        except asyncio.CancelledError:
            if not turn.cancel():  # it was given the place at the same moment
                place.leave()
            raise
        return place

    def give_back(self) -> None:
        """A place is free: the next in the queue gets it."""
        with self._lock:
            while self._waiting:
                if (turn := self._waiting.popleft()).set_running_or_notify_cancel():
                    turn.set_result(None)
                    return
            self._free += 1


class Place:
    """A place that was taken; `leave` gives it back, once however often it is called."""

    def __init__(self, places: Places) -> None:
        self._places: Places | None = places

    def leave(self) -> None:
        """Give it back."""
        places, self._places = self._places, None
        if places is not None:
            places.give_back()
