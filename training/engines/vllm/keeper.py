"""A process between a server and its owner, so that the server does not outlive the owner; it is run by path.

    python -I keeper.py OWNER_PID -- COMMAND ...

The server and its processes end when the owner ends in any way (including kill -9), when the keeper gets a signal, and
when the server's first process dies: an engine process that outlives it would keep the GPU memory. The keeper watches
the process id of the owner, since the kernel's signal for a parent's death is sent when the *thread* that started the
child ends. Only the standard library is imported, so that it starts at once.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

GRACE = 15.0
"""Seconds in which the server can end by itself."""

_POLL = 0.2
_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36  # prctl(2)


def main(owner: int, command: list[str]) -> int:
    """Runs the server; returns its exit code."""
    signals = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda signum, frame: signals.append(signum))
    _prctl(_SET_SUBREAPER, 1)  # orphans of the server become our children, so that they can be ended
    try:
        server = subprocess.Popen(command, start_new_session=True, preexec_fn=_die_with_keeper)  # noqa: S603
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror}\n")
        return 127
    while server.poll() is None and not signals and os.getppid() == owner:
        time.sleep(_POLL)
    if server.poll() is None:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    code = server.wait()
    _end_orphans()
    return code if code >= 0 else 128 - code


def _die_with_keeper() -> None:
    """For the case that the keeper is killed: vLLM's first process ends its engine on SIGTERM."""
    _prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _end_orphans() -> None:
    """Ends and reaps all children of this process."""
    end = time.monotonic() + GRACE
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while time.monotonic() < end:
        try:
            for pid in children.read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        except (OSError, ValueError):
            pass
        try:
            reaped, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not reaped:
            time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[3:]))
