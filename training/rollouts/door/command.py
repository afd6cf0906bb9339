"""A run's own program: started with its task, ended with all that it has started, heard to its end.

The task stands on its standard input and in its environment, which holds none of our keys. Between it and us is a
keeper (`training.run.keeper`): when the time is up, after Ctrl-C and when the trainer dies, however that dies, the
program and its children end.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from graph.secrecy import bears_key
from training.run import keeper
from training.run.ranks import LAUNCH_VARIABLES

GRACE = 2.0
"""Seconds that a program has to end by itself when it is told to."""

_LONGEST_OUTPUT = 2**20
_LONGEST_ERRORS = 2**14
"""Bytes that are kept of either stream: the last ones."""


class CommandRun:
    """One start of a program.

    Args:
        words: the program and its arguments.
        environment: all of its variables.
        given: what it can read on standard input.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], given: bytes) -> None:
        self._words = words
        self._environment = environment
        self._given = given
        self._output = bytearray()
        self._errors = bytearray()

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.decode(errors="replace")

    @property
    def last_error(self) -> str:
        """The last line on its standard error."""
        lines = self._errors.decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:300] if lines else ""

    async def to_its_end(self) -> int:
        """Runs it; its exit code, 128 and more for a signal. Cancelled, it ends the program first."""
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
    with suppress(BrokenPipeError, ConnectionResetError):  # it need not read its task
        stream.write(data)
        await stream.drain()
        stream.close()


async def _kept(stream: asyncio.StreamReader, kept: bytearray, most: int) -> None:
    while data := await stream.read(2**16):
        kept += data
        del kept[:-most]


def environment_of(variables: Mapping[str, str], passed: Collection[str], host: str) -> dict[str, str]:
    """Our variables, less keys, less our place in a launch of several processes, plus those of the run.

    Args:
        variables: of the run.
        passed: names that are passed on though they look like keys: the agent's own.
        host: of the door, which no proxy leads to.
    """
    ours = {
        name: value
        for name, value in os.environ.items()
        if name in passed or not (name in LAUNCH_VARIABLES or bears_key(name, value))
    }
    for name in ("NO_PROXY", "no_proxy"):
        ours[name] = ",".join(filter(None, (ours.get(name), host)))
    return {**ours, **{name: value.replace("\0", "") for name, value in variables.items()}}
