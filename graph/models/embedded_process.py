"""A process of its own for llama.cpp (`graph.models.embedded_worker`).

llama.cpp holds Python's lock while it loads a model, for seconds, or minutes from a slow disk, and ends its process
where memory runs out. In a process of its own it stops neither an event loop nor Ctrl-C, and its end is an error to
report. It ends with the process that started it, however that ends.
"""

from __future__ import annotations

import atexit
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final
from weakref import WeakSet, finalize

from graph.errors import ConfigError
from graph.models import embedded_worker

_LONGEST_REASON: Final = 300
"""Characters quoted of what llama.cpp wrote last."""


class LoadingFailed(Exception):
    """llama.cpp cannot load a model; the text says why."""


class EmbeddedProcess:
    """A process that loads a model at once. It ends when `end` is called, or nothing refers to this any more.

    Args:
        package: The folder that holds the package xllamacpp.
        parameters: Fields of llama.cpp's `CommonParams`, and in mappings fields of its fields.
        adapters: Paths of the LoRA adapters that it holds.
        shows_log: Whether llama.cpp's log goes to our standard error.

    Raises:
        ConfigError: there is no Python to start.
    """

    def __init__(
        self, package: Path, parameters: Mapping[str, Any], adapters: Sequence[str], *, shows_log: bool
    ) -> None:
        self._errors: IO[bytes] | None = None
        if not shows_log:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115
            finalize(self, self._errors.close)
        try:
            self._popen = subprocess.Popen(  # noqa: S603 - a fixed command
                [sys.executable, "-I", embedded_worker.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # the terminal's Ctrl-C is for us
            )
        except OSError as error:
            raise ConfigError(
                "The embedded model runs in a process of its own, which cannot be started: sys.executable is "
                f"{sys.executable!r} ({error.strerror})."
            ) from error
        self._end = finalize(self, _killed, self._popen)
        _processes.add(self)
        request = {"package": str(package), "parameters": parameters, "adapters": adapters}
        assert self._popen.stdin is not None
        with suppress(BrokenPipeError):  # `address` tells why
            self._popen.stdin.write(json.dumps(request).encode() + b"\n")
            self._popen.stdin.flush()

    def address(self) -> str:
        """Its server's address, as soon as the model is loaded.

        Raises:
            LoadingFailed: it cannot be.
        """
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            self._popen.wait()
            raise LoadingFailed(self.why_ended() or "its process ended")
        answer = json.loads(line)
        if "error" in answer:
            raise LoadingFailed(answer["error"])
        return str(answer["address"])

    def why_ended(self, wait: float = 0.0) -> str:
        """Why it is not running, in a few words; empty if it is.

        Args:
            wait: Seconds to wait for its end: its connections are closed a moment before.
        """
        if not self._end.alive:
            return "it was stopped"
        try:
            code = self._popen.wait(wait)
        except subprocess.TimeoutExpired:
            return ""
        if code == -signal.SIGKILL:
            return "its process was killed, as systems do that run out of memory"
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"its process ended {how}" + (f": {last}" if (last := self._last_words()) else "")

    def end(self) -> None:
        """End it; requests in progress fail."""
        self._end()

    def _last_words(self) -> str:
        if self._errors is None:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip()[:_LONGEST_REASON] for line in reversed(lines) if line.strip()), "")


_processes: WeakSet[EmbeddedProcess] = WeakSet()


def _killed(popen: subprocess.Popen[bytes]) -> None:
    popen.kill()
    popen.wait()
    for pipe in (popen.stdin, popen.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # of a request that it did not read
                pipe.close()


@atexit.register
def end_processes() -> None:
    """End all of them, also those that are still loading."""
    for process in list(_processes):
        process.end()
