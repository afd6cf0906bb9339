"""A loop for somebody else's code: plain functions do not queue, and what hangs or exits stops nothing else."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time

import pytest

from evals import loop_thread
from evals.loop_thread import LoopThread, run_on_thread
from tools import threads

AT_ONCE = 60
"""More than asyncio's own pool has on a machine of this kind."""


def test_plain_functions_do_not_queue_for_threads() -> None:
    barrier = threading.Barrier(AT_ONCE)

    async def all_meet() -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(barrier.wait, 20.0) for _ in range(AT_ONCE)))

    assert sorted(run_on_thread(all_meet())) == list(range(AT_ONCE))


async def exits() -> None:
    await asyncio.sleep(0)
    sys.exit("bad option")


def exits_in_a_thread() -> None:
    sys.exit("bad option")


def test_code_that_exits_ends_its_own_task_only() -> None:
    loop = LoopThread()
    other = loop.start(asyncio.sleep(0.3, "here"))
    for _ in range(2):
        with pytest.raises(SystemExit, match="bad option"):
            loop.start(exits()).result(10)
        with pytest.raises(SystemExit, match="bad option"):
            loop.start(asyncio.to_thread(exits_in_a_thread)).result(10)
    assert other.result(10) == "here"
    loop.close()
    loop.close()  # without effect


async def is_interrupted() -> None:
    raise KeyboardInterrupt


def fails() -> None:
    raise OSError("no such device")


def test_an_interrupt_that_code_raises_ends_its_own_task_only() -> None:
    loop = LoopThread()
    with pytest.raises(KeyboardInterrupt):
        loop.start(is_interrupted()).result(10)
    assert loop.start(asyncio.sleep(0, "here")).result(10) == "here"
    loop.close()


def test_a_preparation_that_fails_is_told() -> None:
    with pytest.raises(OSError, match="no such device"):
        LoopThread(fails)


def test_closing_cancels_and_lets_tasks_clear_up() -> None:
    cleared: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.05)
            cleared.append("up")

    loop = LoopThread()
    begun = loop.start(work())
    loop.run(asyncio.sleep(0))
    begun.cancel()  # as an interrupt does
    loop.run(asyncio.sleep(0))
    loop.close()
    assert cleared == ["up"]


@pytest.mark.parametrize("hanging", ["thread", "task", "loop"])
def test_closing_does_not_wait_for_what_hangs(hanging: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (loop_thread, threads):
        monkeypatch.setattr(module, "GRACE", 0.1)
    released = threading.Event()

    async def work() -> None:
        if hanging == "thread":
            await asyncio.to_thread(released.wait, 30.0)
        elif hanging == "loop":
            released.wait(30.0)
        while not released.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    loop = LoopThread()
    loop.start(work())
    time.sleep(0.05)
    began = time.perf_counter()
    loop.close()
    assert time.perf_counter() - began < 5.0
    released.set()


@pytest.mark.filterwarnings("error")
def test_a_loop_that_blocks_until_closing_is_given_up_leaves_no_coroutine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_thread, "GRACE", 0.02)
    blocked, released, told = threading.Event(), threading.Event(), list[str]()
    monkeypatch.setattr(sys, "unraisablehook", lambda problem: told.append(str(problem.exc_value)))

    async def blocks() -> None:
        blocked.set()
        released.wait(30.0)

    loop = LoopThread()
    loop.start(blocks())
    blocked.wait(30.0)
    loop.close()
    released.set()
    loop._thread.join(30.0)
    loop._loop.close()
    del loop
    gc.collect()
    assert not [words for words in told if "never awaited" in words]


def test_the_process_ends_though_a_function_hangs() -> None:
    program = (
        "import asyncio, time\n"
        "from evals import loop_thread\n"
        "from tools import threads\n"
        "threads.GRACE = 0.1\n"
        "async def work():\n"
        "    asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)\n"
        "    return 'done'\n"
        "print(loop_thread.run_on_thread(work()))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=40, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, "done")
