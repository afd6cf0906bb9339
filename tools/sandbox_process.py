"""One sandboxed process from start to end: started, verified, given its code, watched, and gone.

The processes: *monitor* is bubblewrap as we started it; *keeper*, its child, is process 1 of the new pid namespace;
the keeper's child runs the snippet. When the keeper dies the kernel kills every process of the namespace and only then
reports the keeper as ended, so killing and awaiting it is the whole clean-up, whatever the snippet did. The monitor
dies with the thread that started it, the keeper with the monitor, and with it the rest: nothing outlives us either.
(The keeper is ours: bubblewrap's own is left for the machine's init to reap, and in containers there often is none.)

Output is read as it comes and never awaited to its end: a forgotten grandchild may hold the pipe as long as it likes.
All waiting is in `Confined._pump`, on one selector, with the caller's own descriptor for "stop now" among the sources.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from tools.sandbox_bwrap import Channels
from tools.sandbox_proof import Isolation, SandboxUnavailable, children_of, usage_of, verify

START_LIMIT = 20.0
"""Seconds until the sandbox must stand; far above the usual 0.1, for machines under load."""
_WATCH_INTERVAL = 0.05
"""Seconds between two looks at the memory in use."""
_DEATH_LIMIT = 10.0
"""Seconds that killed processes may take to be gone (writing out memory, on a machine under load)."""
_MAX_FILES = 10_000
"""Files in `/tmp`: each takes kernel memory that the size of the file system does not count."""
_REPORT_BYTES_PER_CHAR = 12
"""The longest JSON form of a character, two escapes of six letters."""

_ADVICE = (
    "allow namespaces to ordinary users (sysctl user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1, "
    "kernel.apparmor_restrict_unprivileged_userns=0), or start the container with --cap-add SYS_ADMIN or with "
    "--security-opt seccomp=unconfined"
)

Ending = Literal["exit", "time", "memory", "files", "output"]
"""Why it ended: by itself, or over one of the limits."""


class Stopped(Exception):
    """The caller's descriptor became readable: the run was abandoned, and nothing of it is left."""


@dataclass(frozen=True)
class Ended:
    """What is left of a run."""

    ending: Ending
    exit_code: int
    """Of the snippet's process, 128 + n when signal n ended it; meaningful when the ending is "exit"."""
    stdout: bytes
    stderr: bytes
    report: bytes
    seconds: float
    """Wall time from handing over the code."""
    isolation: Isolation


@dataclass(frozen=True)
class Bounds:
    """What the watcher enforces from outside."""

    seconds: float
    memory_bytes: int
    output_bytes: int


class Confined:
    """A context manager around one sandbox; leaving it kills whatever is left.

    Args:
        command: makes the command line, given the descriptors it inherits.
        seccomp: the filter program.
        rlimits: what must hold inside.
        in_user_namespace: whether the sandbox must have a user namespace of its own.
        stop_fd: becomes readable when the run is to be abandoned.
    """

    def __init__(
        self,
        command: Callable[[Channels], list[str]],
        *,
        seccomp: bytes,
        rlimits: Mapping[str, int],
        bounds: Bounds,
        in_user_namespace: bool,
        stop_fd: int | None = None,
    ) -> None:
        self._command = command
        self._seccomp = seccomp
        self._rlimits = rlimits
        self._bounds = bounds
        self._in_user_namespace = in_user_namespace
        self._selector = selectors.DefaultSelector()
        self._received = {name: bytearray() for name in ("info", "report", "stdout", "stderr")}
        self._caps = {
            "info": 65_536,
            "report": bounds.output_bytes * _REPORT_BYTES_PER_CHAR,
            "stdout": bounds.output_bytes,
            "stderr": bounds.output_bytes,
        }
        self._popen: subprocess.Popen[bytes] | None = None
        self._stdin = -1
        self._owned: set[int] = set()
        self._unsent = memoryview(b"")
        self._overflowed = False
        self._monitor_ended = False
        self._keeper = 0
        self._keeper_fd: int | None = None
        self._next_look = 0.0
        self._stop_fd = stop_fd
        if stop_fd is not None:
            self._selector.register(stop_fd, selectors.EVENT_READ, "stop")

    def __enter__(self) -> Confined:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._popen is not None:
                self._kill(self._popen)
        finally:
            self._close()

    def run(self, code: bytes) -> Ended:
        """Hands the code over, once the sandbox is verified, and waits for the end.

        Raises:
            SandboxUnavailable: the sandbox could not be made or is not closed; the code did not leave this process.
            Stopped: the caller's descriptor became readable.
        """
        assert self._popen is not None, "used outside its with block"
        isolation = self._await_closed()
        started = time.monotonic()
        self._send(code)
        ending = self._watch(started + self._bounds.seconds)
        seconds = time.monotonic() - started
        exit_code = self._kill(self._popen)
        self._pump(0.0)
        if ending == "exit" and self._overflowed:
            ending = "output"
        texts = {name: bytes(data[: self._caps[name]]) for name, data in self._received.items()}
        return Ended(ending, exit_code, texts["stdout"], texts["stderr"], texts["report"], seconds, isolation)

    def _start(self) -> None:
        theirs: dict[str, int] = {}
        try:
            for name in ("stdout", "stderr", "info", "report"):
                ours, theirs[name] = os.pipe()
                self._owned.add(ours)
                os.set_blocking(ours, False)
                self._selector.register(ours, selectors.EVENT_READ, name)
            theirs["stdin"], self._stdin = os.pipe()
            self._owned.add(self._stdin)
            os.set_blocking(self._stdin, False)
            theirs["seccomp"] = os.memfd_create("seccomp")
            os.write(theirs["seccomp"], self._seccomp)
            os.lseek(theirs["seccomp"], 0, os.SEEK_SET)
            channels = Channels(info=theirs["info"], report=theirs["report"], seccomp=theirs["seccomp"])
            self._popen = subprocess.Popen(  # noqa: S603  bubblewrap, with arguments of our own making
                self._command(channels),
                stdin=theirs["stdin"],
                stdout=theirs["stdout"],
                stderr=theirs["stderr"],
                pass_fds=(channels.info, channels.report, channels.seccomp),
                start_new_session=True,  # the terminal's Ctrl-C is for us
                env={},
                cwd="/",
            )
        except OSError as error:
            raise SandboxUnavailable(
                f"bubblewrap cannot be started ({error}): see that it is installed and this process within its limits."
            ) from error
        finally:
            for descriptor in theirs.values():
                os.close(descriptor)
        monitor_fd = os.pidfd_open(self._popen.pid)
        self._owned.add(monitor_fd)
        self._selector.register(monitor_fd, selectors.EVENT_READ, "monitor")

    def _await_closed(self) -> Isolation:
        """Waits until the snippet's process asks for the code, and verifies its isolation."""
        deadline = time.monotonic() + START_LIMIT
        while not self._received["report"]:
            self._note_keeper()
            if self._monitor_ended:
                raise SandboxUnavailable(self._complaint())
            if time.monotonic() > deadline:
                raise SandboxUnavailable(
                    f"The sandbox did not start within {START_LIMIT:.0f} s: the machine is overloaded."
                )
            self._pump(deadline - time.monotonic())
        self._note_keeper()
        waiting = children_of(self._keeper)
        if self._received["report"] != b"R" or len(waiting) != 1:
            raise SandboxUnavailable(self._complaint())
        self._received["report"].clear()
        return verify(waiting[0], self._rlimits, in_user_namespace=self._in_user_namespace)

    def _note_keeper(self) -> None:
        if self._keeper_fd is not None or b"}" not in self._received["info"]:
            return
        self._keeper = int(json.loads(self._received["info"])["child-pid"])
        try:
            self._keeper_fd = os.pidfd_open(self._keeper)
        except ProcessLookupError:  # ended at once; the monitor will say why
            return
        self._owned.add(self._keeper_fd)

    def _complaint(self) -> str:
        self._pump(0.0)
        said = self._received["stderr"].decode("utf-8", "replace").strip().splitlines() or ["it gave no reason"]
        forbidden = any(word in said[-1] for word in ("not permitted", "denied", "No space left"))
        return f"The sandbox could not be made ({said[-1]}){': ' + _ADVICE if forbidden else ''}."

    def _send(self, code: bytes) -> None:
        self._unsent = memoryview(code)
        self._selector.register(self._stdin, selectors.EVENT_WRITE, "stdin")

    def _watch(self, deadline: float) -> Ending:
        while not self._monitor_ended:
            if self._overflowed:
                return "output"
            now = time.monotonic()
            if now >= deadline:
                return "time"
            if now >= self._next_look:
                usage = usage_of(self._keeper, self._bounds.memory_bytes)
                if usage.memory > self._bounds.memory_bytes:
                    return "memory"
                if usage.files > _MAX_FILES:
                    return "files"
                self._next_look = time.monotonic() + _WATCH_INTERVAL
            self._pump(min(deadline, self._next_look) - now)
        return "exit"

    def _pump(self, timeout: float) -> None:
        """Waits for something to happen, at most so many seconds, and takes in what did.

        Raises:
            Stopped: the caller's descriptor is readable.
        """
        for key, _ in self._selector.select(max(timeout, 0.0)):
            if key.data == "stop":
                raise Stopped
            if key.data == "monitor":
                self._selector.unregister(key.fd)
                self._monitor_ended = True
            elif key.data == "stdin":
                self._feed()
            else:
                self._drain(key.fd, key.data)

    def _feed(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._stdin, self._unsent[:65_536]) :]
        except BrokenPipeError:  # it died; the monitor will tell
            self._unsent = memoryview(b"")
        if not self._unsent:
            self._selector.unregister(self._stdin)
            self._owned.remove(self._stdin)
            os.close(self._stdin)

    def _drain(self, descriptor: int, name: str) -> None:
        buffer, most = self._received[name], self._caps[name]
        while len(buffer) <= most:
            try:
                piece = os.read(descriptor, 65_536)
            except BlockingIOError:
                return
            if not piece:
                self._selector.unregister(descriptor)
                return
            buffer += piece
        self._overflowed = True
        self._selector.unregister(descriptor)

    def _kill(self, monitor: subprocess.Popen[bytes]) -> int:
        """Ends the sandbox, waits until the kernel has removed its last process, and returns the exit code."""
        if self._stop_fd is not None:  # heard, or of no more interest
            self._selector.unregister(self._stop_fd)
            self._stop_fd = None
        deadline = time.monotonic() + _DEATH_LIMIT
        while self._keeper_fd is None and not self._monitor_ended and time.monotonic() < deadline:
            self._pump(0.01)  # given up while starting: the keeper is known in a moment
            self._note_keeper()
        if self._keeper_fd is not None:
            with contextlib.suppress(ProcessLookupError):  # ended by itself
                signal.pidfd_send_signal(self._keeper_fd, signal.SIGKILL)
            gone = select.poll()
            gone.register(self._keeper_fd, select.POLLIN)
            if not gone.poll(_DEATH_LIMIT * 1000):
                raise SandboxUnavailable(f"A sandboxed process did not die within {_DEATH_LIMIT:.0f} s of its kill.")
        try:
            return monitor.wait(_DEATH_LIMIT)
        except subprocess.TimeoutExpired:
            monitor.kill()
            return monitor.wait()

    def _close(self) -> None:
        self._selector.close()
        for descriptor in self._owned:
            os.close(descriptor)
        self._owned.clear()
