"""Blocking work on daemon threads of its own.

Python cannot end a thread. A function that never returns would keep a place in the event loop's own small pool, which
everything else in the process shares and which the loop waits for when it closes. A daemon thread of its own keeps
nobody waiting.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from tools.errors import ToolUnavailable

MOST_THREADS: Final = 1024
"""Functions that may be running at once in the process, those that nobody waits for any more included."""

T = TypeVar("T")

_free = threading.Semaphore(MOST_THREADS)


async def on_own_thread(function: Callable[..., T], *args: Any) -> T:
    """Call a function on a thread of its own, with the caller's context variables, and wait for its result.

    A cancelled caller waits no longer; the function runs to its end, if it has one.

    Raises:
        ToolUnavailable: there are too many such threads already.
    """
    if not _free.acquire(blocking=False):
        raise ToolUnavailable(f"{MOST_THREADS:,} calls of functions that block are still running in this process")
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if outcome.done():  # its caller was cancelled
            return
        if error is None:
            outcome.set_result(result)  # type: ignore[arg-type]  # without an error there is a result
        else:
            outcome.set_exception(error)

    def work() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = context.run(function, *args)
        except StopIteration as problem:  # no future takes it
            error = RuntimeError("the function raised StopIteration")
            error.__cause__ = problem
        except BaseException as problem:  # noqa: BLE001 - it is the caller's
            error = problem
        finally:
            _free.release()
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop was closed meanwhile: nobody waits
            return

    try:
        threading.Thread(target=work, name=f"tool-{getattr(function, '__name__', 'call')}", daemon=True).start()
    except BaseException:
        _free.release()
        raise
    return await outcome
