"""Rollouts that are under way on their own thread, whether somebody waits for them or computes gradients meanwhile.

Overlap. A step's rollouts begin as soon as the last step's have ended, under the policy of that moment, and go on
while the last step's update makes the next policy. So they are one step older than the policy that trains on them,
never more: the next ones begin only when these have been taken. Their log-probabilities were captured, and the
truncated importance weight (`tis_cap`) or the clipped ratio corrects for the difference as for any other between
sampler and trainer. The engine samples from weights that no update touches: a vLLM server has its own, the in-process
engine a copy (`TransformersEngine.apart`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from evals.task import Task
from training.collector import Collector
from training.event_loop import LoopThread
from training.records import Rollout
from training.replayed import Replayed


class Listener(Protocol):
    """Who is told how rollouts go on."""

    def rolling_out(self, step: int, total: int) -> None:
        """A step's rollouts begin."""

    def rolled_out(self, rollout: Rollout) -> None:
        """A rollout has ended."""


class Underway:
    """Rollouts of some tasks, begun when this is made.

    Args:
        loop: where they run.
        collector: what collects them.
        step: which step they belong to.
        tasks: its tasks.
    """

    def __init__(self, loop: LoopThread, collector: Collector | Replayed, step: int, tasks: Sequence[Task]) -> None:
        self._step, self._total = step, len(tasks) * collector.settings.group_size
        self._ended: list[Rollout] = []
        self._tell: Callable[[Rollout], None] | None = None
        self._lock = threading.Lock()

        async def work() -> tuple[list[Rollout], float]:
            began = time.perf_counter()
            found = await collector.collect(step, tasks, on_rollout=self._one_ended)
            return found, time.perf_counter() - began

        self.work = loop.start(work())
        """The rollouts, and the seconds they took."""

    def show(self, listener: Listener) -> None:
        """From here on somebody waits: tells of what has ended, then of the others as they end."""
        with self._lock:
            listener.rolling_out(self._step, self._total)
            for rollout in self._ended:
                listener.rolled_out(rollout)
            self._tell = listener.rolled_out

    def _one_ended(self, rollout: Rollout) -> None:
        with self._lock:
            self._ended.append(rollout)
            if self._tell is not None:
                self._tell(rollout)
