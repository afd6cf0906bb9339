"""The stragglers of a step: the last rollouts, for which the others would have to wait.

When a given share of a step's rollouts has ended, the others have so many seconds left. Then each one's own time budget
ends: it goes to the generator, answers from what it has and earns what that answer earns, as any run whose time is up.
Nothing is left out by that, so the reward stays that of all tasks, under a tighter budget for the slow ones; such
rollouts are marked `hurried`, counted and their mean reward logged. What has not ended after as many seconds again
(a tool that hangs, an agent that does not look at its budget) is cut off and counted as a failure of kind `late`. It
earned nothing that is known, so it is no reward; but what is slow is often long or hard, so leaving out many would bend
the reward towards quick runs. Their share is logged, and `training.run.alarms` warns of it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Late(Exception):
    """The rollout was cut off."""


class Tail:
    """The stragglers' time in one step, on the running event loop's clock.

    Args:
        rollouts: of the step.
        fraction: share of them after whose end the others are hurried; None never hurries any.
        seconds: that they then have, and after which they are cut off when they have passed again.
    """

    def __init__(self, rollouts: int, fraction: float | None, seconds: float) -> None:
        self._rollouts = rollouts
        self._fraction = fraction
        self._ended = 0
        self._seconds = seconds
        self._ends: float | None = None
        self._limits: set[asyncio.Timeout] = set()
        self.on_hurry: Callable[[float], None] | None = None
        """Told when the others are hurried: the moment when their time ends."""
        self.on_more: Callable[[int], None] | None = None
        """Told of rollouts that were not expected."""

    def ended(self) -> None:
        """A rollout has ended."""
        self._ended += 1
        if self._fraction is None or self._ends is not None:
            return
        if self._ended >= math.ceil(self._fraction * self._rollouts):
            self.hurry(time.monotonic() + self._seconds)
            if self.on_hurry is not None and self._ends is not None:
                self.on_hurry(self._ends)

    @property
    def hurries(self) -> bool:
        """Whether the others are hurried."""
        return self._ends is not None

    def expect(self, more: int) -> None:
        """The step has more rollouts than was known."""
        self._rollouts += more
        if self.on_more is not None:
            self.on_more(more)

    def hurry(self, ends: float) -> None:
        """What still runs has until then, on the clock of `time.monotonic`, which is that of event loops too."""
        self._ends = ends
        for limit in self._limits:
            limit.reschedule(ends + self._seconds)

    def seconds_left(self) -> float:
        """What a rollout has before its time budget ends: no bound while enough others run."""
        return math.inf if self._ends is None else self._ends - time.monotonic()

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Cuts off what runs inside when its time has passed twice.

        Raises:
            Late: it was cut off.
        """
        limit = asyncio.timeout_at(None if self._ends is None else self._ends + self._seconds)
        self._limits.add(limit)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if limit.expired():
                raise Late from error
            raise
        finally:
            self._limits.discard(limit)
