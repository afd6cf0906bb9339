"""Rollouts on a thread of their own, so that they can run beside an update.

Overlap. The rollouts of a step begin as soon as those of the last step have ended, with the policy of that moment, and
continue during the update of the last step. So they are one step older than the policy that trains on them,
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

from evals.loop_thread import LoopThread
from evals.task import Task
from training.rollouts.records import Rollout


class RolloutSource(Protocol):
    """Where the rollouts of a step come from: new runs of the agent, or stored ones."""

    @property
    def group_size(self) -> int:
        """G: rollouts of each task."""

    async def collect(
        self,
        step: int,
        tasks: Sequence[Task],
        *,
        on_rollout: Callable[[Rollout], None] | None = None,
        spares: Sequence[Sequence[Task]] = (),
    ) -> list[Rollout]:
        """G rollouts of each task, in order of the tasks.

        Args:
            step: which step they belong to.
            tasks: its tasks, without repetition.
            on_rollout: called on the event loop after each rollout that has ended.
            spares: by round and place, tasks that replace those whose group has rewards without variance.

        Raises:
            AgentFlowError: something that every run would meet.
        """


class Underway:
    """Rollouts of some tasks, started by the constructor.

    Args:
        loop: where they run.
        source: where they come from.
        step: which step they belong to.
        tasks: its tasks.
        spares: see `RolloutSource.collect`.
    """

    def __init__(
        self,
        loop: LoopThread,
        source: RolloutSource,
        step: int,
        tasks: Sequence[Task],
        spares: Sequence[Sequence[Task]] = (),
    ) -> None:
        self.total = len(tasks) * source.group_size
        """Their number, without those of spares."""
        self._ended: list[Rollout] = []
        self._on_rollout: Callable[[Rollout], None] | None = None
        self._lock = threading.Lock()

        async def work() -> tuple[list[Rollout], float]:
            began = time.perf_counter()
            found = await source.collect(step, tasks, on_rollout=self._one_ended, spares=spares)
            return found, time.perf_counter() - began

        self.work = loop.start(work())
        """The rollouts, and the seconds they took."""

    def listen(self, on_rollout: Callable[[Rollout], None]) -> None:
        """Calls back for each rollout that has ended, then for the others as they end."""
        with self._lock:
            for rollout in self._ended:
                on_rollout(rollout)
            self._on_rollout = on_rollout

    def _one_ended(self, rollout: Rollout) -> None:
        with self._lock:
            self._ended.append(rollout)
            if self._on_rollout is not None:
                self._on_rollout(rollout)
