"""Keeps a server that must not outlive its owner: a process of its own between the two, run by path.

    python -I keeper.py OWNER_PID -- COMMAND ...

The server and all that it starts end when the owner is gone, however it went (kill -9 included), when the keeper is
told to end, and when the server's first process dies: an engine process that outlives it would keep the GPU's memory.
The owner is watched by its number rather than by a signal, since the kernel's signal on a parent's death comes when the
*thread* ends that started the child. Nothing but the standard library is imported, so that it starts at once.
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
"""Seconds that the server has to end by itself."""

_POLL = 0.2
_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36  # prctl(2)


def main(owner: int, command: list[str]) -> int:
    """Runs the server; returns its exit code."""
    told = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda signum, frame: told.append(signum))
    _prctl(_SET_SUBREAPER, 1)  # what the server leaves behind becomes ours, so that it can be ended
    try:
        server = subprocess.Popen(command, start_new_session=True, preexec_fn=_die_with_keeper)  # noqa: S603
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror}\n")
        return 127
    while server.poll() is None and not told and os.getppid() == owner:
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
    """Should the keeper itself be killed: vLLM's first process ends its engine when it is asked to end."""
    _prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _end_orphans() -> None:
    """Ends and reaps what has become a child of this process."""
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
