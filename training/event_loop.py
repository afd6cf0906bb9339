"""An event loop in a thread of its own: rollouts go on while the main thread computes gradients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import torch

T = TypeVar("T")


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
        if self._device is not None and self._device.type == "cuda":
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
