"""Places for so many at once, and time limits that stand still for who waits for one."""

from __future__ import annotations

import asyncio
import resource

import pytest

from tools.places import Places, off_the_clock, time_limit
from tools.sandbox import Sandbox
from tools.sandbox_limits import Limits
from tools.spans import recorded


async def test_places_go_in_order_of_arrival_and_a_cancelled_wait_takes_none() -> None:
    places, order = Places(1), []

    async def use(number: int) -> None:
        place = await places.take()
        order.append(number)
        await asyncio.sleep(0)
        place.leave()
        place.leave()  # once is enough

    first = await places.take()
    users = [asyncio.create_task(use(number)) for number in range(5)]
    await asyncio.sleep(0)
    users[1].cancel()
    first.leave()
    await asyncio.gather(*users, return_exceptions=True)
    assert order == [0, 2, 3, 4]
    last = await asyncio.wait_for(places.take(), 5)
    waiting = asyncio.create_task(places.take())
    await asyncio.sleep(0)
    last.leave()
    waiting.cancel()  # when the place is already its own
    await asyncio.gather(waiting, return_exceptions=True)
    (await asyncio.wait_for(places.take(), 5)).leave()


async def test_a_time_limit_stands_still_while_something_waits_for_a_place() -> None:
    with recorded() as spans:
        async with time_limit(0.05):
            with off_the_clock("sandbox"):
                await asyncio.sleep(0.15)
        with pytest.raises(TimeoutError):
            await _overdue()
    assert [span.name for span in spans] == ["sandbox", "sandbox"]
    with off_the_clock("nothing"):
        await asyncio.sleep(0)


async def _overdue() -> None:
    async with time_limit(0.05):
        with off_the_clock("sandbox"):
            await asyncio.sleep(0.01)
        await asyncio.sleep(60)


async def test_programs_that_run_on_leave_the_cores_to_the_others() -> None:
    sandbox = Sandbox(Limits(seconds=60))
    endless = [asyncio.create_task(sandbox.arun("import time; time.sleep(50)")) for _ in range(3)]
    with recorded() as spans:
        result = await asyncio.wait_for(sandbox.arun("6 * 7"), 30)
    assert result.value == "42"
    assert {span.kind for span in spans} == {"wait", "sandbox"}
    for task in endless:
        task.cancel()
    ended = await asyncio.gather(*endless, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended)


def test_as_many_programs_as_there_are_memory_and_files_for(monkeypatch: pytest.MonkeyPatch) -> None:
    files = 4096
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (files, files))
    assert Limits(memory_mb=64).most_parallel() == 128
    assert Limits(memory_mb=10**9).most_parallel() == 4
    files = 1024  # the usual limit, half of which is for connections
    assert Limits(memory_mb=64).most_parallel() == 32
