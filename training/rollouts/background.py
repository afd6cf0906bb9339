"""Rollouts on a thread of their own, so that they can run beside an update.

Overlap. The rollouts of a step begin as soon as those of the last step have ended, with the policy of that moment, and
continue during the update of the last step. So they are one step older than the policy that trains on them,
never more: the next ones begin only when these have been taken. Their log-probabilities were captured, and the
truncated importance weight (`tis_cap`) or the clipped ratio corrects for the difference as for any other between
sampler and trainer. The engine samples from weights that no update touches: a vLLM server has its own, the in-process
engine a copy (`TransformersEngine.apart`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from evals.task import Task
from training.rollouts.records import Rollout

if TYPE_CHECKING:
    import torch


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


T = TypeVar("T")

MOST_THREADS = 1024
"""Plain functions of rollouts (tools, nodes, rewards) that run at once. Each that waits holds a thread, and asyncio's
own pool has cores + 4, so that a step of many rollouts would queue for them. A thread is made when none is free."""


class LoopThread:
    """Runs coroutines on one loop, which engines and collectors are bound to; closed once at the end.

    Args:
        device: the GPU of this process, if it has one: which one is current is a matter of each thread, and what an
            engine sends to the other processes has to leave from here.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._device = device
        self._thread = threading.Thread(target=self._work, name="rollouts", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        self._loop.set_default_executor(ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="rollout"))
        if self._device is not None and self._device.type == "cuda":
            import torch

            torch.cuda.set_device(self._device)
        self._loop.run_forever()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begins a coroutine and returns at once."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, begun: Future[T]) -> T:
        """Its result; an interrupt here cancels it."""
        try:
            return begun.result()
        finally:
            begun.cancel()  # without effect on one that has ended

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end."""
        return self.wait(self.start(work))

    def close(self) -> None:
        """Cancels what still runs, waits until it has ended, and stops the loop."""
        if self._loop.is_closed():
            return
        self.start(self._cancel_others()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_others(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()
