"""Blocking functions run on threads that nobody else waits for."""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import threading
import time

import pytest

from tools import threads
from tools.threads import DaemonThreads, on_own_thread

SPEAKER = contextvars.ContextVar("speaker", default="nobody")


def test_results_and_errors_come_back_and_context_variables_go_along() -> None:
    def stop() -> None:
        raise StopIteration("end")

    async def main() -> None:
        SPEAKER.set("Ada")
        assert await on_own_thread(SPEAKER.get) == "Ada"
        assert await on_own_thread(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await on_own_thread(divmod, 7, 0)
        with pytest.raises(SystemExit):
            await on_own_thread(exit, 3)
        with pytest.raises(RuntimeError) as raised:
            await on_own_thread(stop)
        assert isinstance(raised.value.__cause__, StopIteration)

    asyncio.run(main())


def test_a_loop_closes_while_a_function_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await on_own_thread(release.wait, 30)

    monkeypatch.setattr(threads, "_threads", pool := DaemonThreads())
    before, began = threading.enumerate(), time.perf_counter()
    asyncio.run(main())
    assert time.perf_counter() - began < 20
    hung = [thread for thread in threading.enumerate() if thread not in before]
    assert hung
    assert all(thread.daemon for thread in hung)
    release.set()
    pool.shutdown()
    for thread in hung:  # they end without a word although their loop is closed
        thread.join(10)
        assert not thread.is_alive()


def test_a_forked_child_has_threads_of_its_own() -> None:
    asyncio.run(on_own_thread(_name))
    child = multiprocessing.get_context("fork").Process(target=_asks)
    child.start()
    child.join(20)
    assert child.exitcode == 0


def _asks() -> None:
    asyncio.run(asyncio.wait_for(on_own_thread(_name), 10))


def test_there_is_an_end_to_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_threads", DaemonThreads(most=1))
    release = threading.Event()

    async def main() -> None:
        first = asyncio.create_task(on_own_thread(release.wait, 30))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(on_own_thread(int), 0.05)
        release.set()
        assert await first
        assert await on_own_thread(int) == 0

    asyncio.run(main())


def test_threads_are_used_again_and_their_number_is_bounded() -> None:
    pool = DaemonThreads(most=3)
    names = {future.result(10) for future in [pool.submit(_name) for _ in range(40)]}
    assert 1 <= len(names) <= 3
    assert {pool.submit(_name).result(10) for _ in range(10)} <= names
    pool.shutdown()
    with pytest.raises(RuntimeError):
        pool.submit(_name)


def _name() -> str:
    time.sleep(0.001)
    return threading.current_thread().name
