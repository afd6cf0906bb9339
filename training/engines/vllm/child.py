"""The run's own vLLM server, as a child process on the same GPU.

It starts before the trainer takes GPU memory, since vLLM measures what is free. It stops with the trainer, however that
ends (`training.run.keeper`), and the engine restarts it if it dies. Its output goes to a log in the run's folder. The
base model is served as `BASE`, for the frozen roles.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from graph.errors import ConfigError, ModelError, ModelUnavailable
from graph.models.server import Endpoint, fetch_bytes
from training.engines.base import BASE
from training.run import keeper
from training.run.ranks import LAUNCH_VARIABLES

logger = logging.getLogger(__name__)

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of `--max-lora-rank`; a larger one than necessary is slower."""

PATIENCE = 1800.0
"""Time limit of the start in seconds: the server may download the model, and compiles and captures graphs."""

GRACE = 15.0
"""Seconds that a server has to end by itself."""

_EXCEPTION = re.compile(r"(?:\(\w+ pid=\d+\) )?(?:ERROR [^]]*\] )?([\w.]*(?:Error|Exception)\b)")
"""The beginning of a line with an exception, with the process and the place that vLLM writes before it."""

_REPORT_EVERY = 30.0
_DYING = 5.0
"""Seconds between the first refused connection and the end of the process."""


@dataclass(frozen=True)
class Launch:
    """How to start a server."""

    model: str
    """A folder in Hub format, or a name on the Hub."""
    dtype: str
    max_context: int
    lora_rank: int
    adapters: int = 1
    """Of the policy."""
    sequences: int = 64
    """Most requests that are answered at once. vLLM's own default is up to 1,024; start and memory grow with it, since
    CUDA graphs are made for batches of up to twice as many, and its sampler is tried with as many."""
    memory_share: float | None = None
    """Share of GPU memory; None: vLLM's default."""
    sleeps: bool = False
    """Whether it releases its memory during updates."""
    command: str = "vllm"
    """Shell words that start vLLM."""
    options: str = ""
    """Extra options of `vllm serve`, which win."""

    def words(self, port: int) -> list[str]:
        """The command line.

        Raises:
            ConfigError: no `--max-lora-rank` is large enough.
        """
        rank = next((each for each in RANKS if each >= self.lora_rank), None)
        if rank is None:
            raise ConfigError(f"lora_rank is {self.lora_rank}, and vLLM serves adapters up to rank {RANKS[-1]}.")
        share = () if self.memory_share is None else ("--gpu-memory-utilization", f"{self.memory_share:.3f}")
        return [
            *shlex.split(self.command), "serve", self.model, "--host", "127.0.0.1", "--port", str(port),
            "--served-model-name", BASE, "--dtype", self.dtype, "--max-model-len", str(self.max_context),
            "--enable-lora", "--max-lora-rank", str(rank),
            "--max-loras", str(2 * self.adapters),  # those in use, and as many that are being loaded
            "--max-num-seqs", str(self.sequences),
            "--logprobs-mode", "processed_logprobs", "--generation-config", "vllm",
            *share, *(("--enable-sleep-mode",) if self.sleeps else ()), *shlex.split(self.options),
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """The environment of the server: without keys of other services, and without variables of a launcher."""
        ours = {name: value for name, value in os.environ.items() if not _is_foreign(name)}
        dev_mode = {"VLLM_SERVER_DEV_MODE": "1"} if self.sleeps else {}
        return {**ours, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_NO_USAGE_STATS": "1", **dev_mode}


def _is_foreign(name: str) -> bool:
    return name.endswith("_API_KEY") or name in (*LAUNCH_VARIABLES, "PYTHONPATH")


def installed(command: str = "vllm") -> bool:
    """Whether vLLM can be started."""
    return _program(command) is not None or (command == "vllm" and importlib.util.find_spec("vllm") is not None)


def _program(command: str) -> str | None:
    """The program, from PATH or from the folder of this interpreter."""
    words = shlex.split(command)
    return shutil.which(words[0]) or shutil.which(words[0], path=str(Path(sys.executable).parent)) if words else None


class ChildServer:
    """The server's process.

    Args:
        launch: how to start it.
        log: file for its output, which is appended.
        show: receives its progress while it loads; default: standard error.
    """

    def __init__(self, launch: Launch, log: Path, *, show: Callable[[str], None] | None = None) -> None:
        self.launch = launch
        self.log = log
        self.starts = 0
        """Number of starts; a request that failed during an earlier start may be repeated."""
        self._show = show
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._log_began = 0

    @property
    def url(self) -> str:
        """Its address, the same after each start."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def base_spec(self) -> str:
        """The base model as a model spec (`graph.models.spec`)."""
        return f"vllm:{BASE}@{self.url}"

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the server, without waiting for it.

        Raises:
            ConfigError: there is no such program.
            OSError: the log cannot be written.
        """
        self.stop()
        program = _program(self.launch.command)
        if program is None:
            raise ConfigError(
                f"There is no program {self.launch.command!r} to start a vLLM server; `pip install vllm`, set "
                "vllm_command to it, or set vllm_url, the address of a server."
            )
        command = [program, *self.launch.words(self._port)[1:]]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as file:
            file.write(f"\n$ {shlex.join(command)}\n".encode())
            file.flush()
            self._log_began = file.tell()
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", keeper.__file__, str(os.getpid()), str(GRACE), "--", *command],
                env=self.launch.environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal ends the training first, and then the server
            )
        self.starts += 1

    async def ready(self) -> None:
        """Waits until the server answers.

        Raises:
            ModelUnavailable: it ended, or was not ready in time; the message quotes its log.
        """
        health = Endpoint(self.url.removesuffix("/v1"), timeout=5.0, max_retries=0)
        began = time.monotonic()
        with _display(self._show, f"vLLM loads {self.launch.model} (log: {self.log})") as show:
            while time.monotonic() - began < PATIENCE:
                if not self.alive:
                    raise ModelUnavailable(self.obituary())
                with suppress(ModelError):
                    await fetch_bytes(health, "GET", "/health")
                    return
                show(self._last_line())
                await asyncio.sleep(0.25)
        raise ModelUnavailable(f"The vLLM server was not ready within {PATIENCE:.0f} s; see {self.log}.")

    def wait_until_ready(self) -> None:
        """See `ready`."""
        asyncio.run(self.ready())

    async def has_died(self) -> bool:
        """Whether its process has ended; after a lost connection this waits a moment."""
        health = Endpoint(self.url.removesuffix("/v1"), timeout=5.0, max_retries=0)
        end = time.monotonic() + _DYING
        while self.alive and time.monotonic() < end:
            with suppress(ModelError):
                await fetch_bytes(health, "GET", "/health")
                return False
            await asyncio.sleep(0.1)
        return not self.alive

    def obituary(self) -> str:
        """A sentence on how it ended, which quotes its log."""
        code = (self._process.poll() if self._process is not None else None) or 0
        killed_by = max(-code, code - 128) if code - 128 <= max(signal.valid_signals()) else 0
        how = f"was killed by signal {killed_by}" if killed_by > 0 else f"ended with exit code {code}"
        reason = (self._cause() or (self._last_line() if killed_by <= 0 else "")).rstrip(".")
        return f"The vLLM server {how}{f': {reason}' if reason else ''}. Its log is {self.log}."

    def stop(self) -> None:
        """Stops the server and its processes, if it runs."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(3 * GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _lines(self) -> Sequence[str]:
        """The last lines of the log since this start."""
        with suppress(OSError), self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_began, size - 20_000))
            text = file.read().decode(errors="replace")
            return [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
        return []

    def _last_line(self) -> str:
        return next(reversed(self._lines()), "")[-100:]

    def _cause(self) -> str:
        """What its last exception says, if it shows one.

        An exception that refers to another's "root cause" is only the echo of that one in a parent process, and tells
        more than nothing where a process was killed.
        """
        lines = self._lines()
        errors = [n for n, line in enumerate(lines) if _EXCEPTION.match(line)]
        if not errors:
            return ""
        last = max(errors, key=lambda n: ("root cause" not in lines[n], n))
        cause = lines[last + 1] if "validation error" in lines[last] and last + 1 < len(lines) else lines[last]
        return _EXCEPTION.sub(r"\1", cause)[:300]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _display(listener: Callable[[str], None] | None, title: str) -> Iterator[Callable[[str], None]]:
    """Shows progress: a changing line on a terminal, occasional lines elsewhere."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    say = listener or console.print
    began = shown = time.monotonic()
    live = listener is None and console.is_terminal
    status = console.status(title) if live else None

    def show(words: str) -> None:
        nonlocal shown
        seconds = time.monotonic() - began
        if status is not None:
            from rich.markup import escape

            status.update(f"{escape(title)}, {seconds:.0f} s: {escape(words)}")
        elif time.monotonic() - shown > _REPORT_EVERY:
            shown = time.monotonic()
            say(f"  {seconds:.0f} s: {words or 'no output yet'}")

    say(title)
    with status if status is not None else nullcontext():
        yield show
    say(f"vLLM is ready after {time.monotonic() - began:.0f} s")
