"""A process between a program and its owner, so that the program does not outlive the owner; it is run by path.

    python -I keeper.py OWNER_PID GRACE -- COMMAND ...

The program and its processes end when the owner ends in any way (including kill -9), when the keeper gets a signal, and
when the program's first process ends: a vLLM engine that outlives its server would keep the GPU memory. The program has
GRACE seconds to end by itself. The keeper watches the process id of the owner, since the kernel's signal for a parent's
death is sent when the *thread* that started the child ends. Only the standard library is imported, so that it starts
at once.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_POLL = 0.2
"""Seconds between checks of the owner; signals wake the keeper at once."""

_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36  # prctl(2)


def main(owner: int, grace: float, command: list[str]) -> int:
    """Runs the program; returns its exit code."""
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda signum, frame: signals.append(signum))
    woken = _wakeup_pipe()
    _prctl(_SET_SUBREAPER, 1)  # orphans of the program become our children, so that they can be ended
    try:
        program = subprocess.Popen(command, start_new_session=True, preexec_fn=_die_with_keeper)  # noqa: S603
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror}\n")
        return 127
    while program.poll() is None and not signals and os.getppid() == owner:
        if select.select([woken], [], [], _POLL)[0]:
            os.read(woken, 512)
    if program.poll() is None:
        program.terminate()
        with suppress(subprocess.TimeoutExpired):
            program.wait(grace)
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)
    code = program.wait()
    _end_orphans(grace)
    return code if code >= 0 else 128 - code


def _wakeup_pipe() -> int:
    """The end of a pipe that is readable after a signal, SIGCHLD included."""
    readable, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    return readable


def _die_with_keeper() -> None:
    """For the case that the keeper is killed: vLLM's first process ends its engine on SIGTERM."""
    _prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _end_orphans(grace: float) -> None:
    """Ends and reaps all children of this process."""
    end = time.monotonic() + grace
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
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[4:]))
