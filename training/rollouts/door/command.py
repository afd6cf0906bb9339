"""A run of a command: its input, environment and output.

The task is on standard input and in the environment, which has none of our keys. The command runs under a keeper
(`training.run.keeper`), so that it ends with all of its children after the time limit, after Ctrl-C, and when the
trainer dies in any way.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from tools.secrecy import bears_key
from training.run import keeper
from training.run.ranks import LAUNCH_VARIABLES

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

_LONGEST_OUTPUT = 2**20
_LONGEST_ERRORS = 2**14
"""Numbers of bytes kept at the end of each stream."""


class CommandRun:
    """One run of a command.

    Args:
        words: the program and its arguments.
        environment: all environment variables.
        given: standard input.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], given: bytes) -> None:
        self._words = words
        self._environment = environment
        self._given = given
        self._output = bytearray()
        self._errors = bytearray()

    @property
    def output(self) -> str:
        """The standard output so far."""
        return self._output.decode(errors="replace")

    @property
    def last_error(self) -> str:
        """The last line of standard error."""
        lines = self._errors.decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:300] if lines else ""

    async def to_its_end(self) -> int:
        """Runs the command; returns its exit code, or 128 + N for signal N. If cancelled, it ends the command first."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", keeper.__file__, str(os.getpid()), str(GRACE), "--", *self._words),
            env=dict(self._environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        streams = [
            asyncio.ensure_future(_written(process.stdin, self._given)),
            asyncio.ensure_future(_kept(process.stdout, self._output, _LONGEST_OUTPUT)),
            asyncio.ensure_future(_kept(process.stderr, self._errors, _LONGEST_ERRORS)),
        ]
        try:
            code = await process.wait()
            await asyncio.wait(streams, timeout=GRACE)
            return code
        finally:
            if process.returncode is None:
                process.terminate()
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 3 * GRACE)
            if process.returncode is None:
                process.kill()
            for stream in streams:
                stream.cancel()


async def _written(stream: asyncio.StreamWriter, data: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # a command need not read its input
        stream.write(data)
        await stream.drain()
        stream.close()


async def _kept(stream: asyncio.StreamReader, kept: bytearray, most: int) -> None:
    while data := await stream.read(2**16):
        kept += data
        del kept[:-most]


def environment_of(variables: Mapping[str, str], passed: Collection[str], host: str) -> dict[str, str]:
    """The environment of a command: ours without keys and without the variables of a launcher, plus those of the run.

    Args:
        variables: the variables of the run.
        passed: names of variables that are kept although they look like keys.
        host: host of the door, which is excluded from proxies.
    """
    ours = {
        name: value
        for name, value in os.environ.items()
        if name in passed or not (name in LAUNCH_VARIABLES or bears_key(name, value))
    }
    for name in ("NO_PROXY", "no_proxy"):
        ours[name] = ",".join(filter(None, (ours.get(name), host)))
    return {**ours, **{name: value.replace("\0", "") for name, value in variables.items()}}
