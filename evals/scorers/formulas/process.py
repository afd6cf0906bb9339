"""The client of `worker.py`: formulas are compared in a process of their own, which the system can end.

The worker is started on first use, used again, and limited in CPU time and memory; when it is ended for either, the
answer is no and the next question gets a fresh worker.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

CPU_SECONDS = 5
"""CPU time that one comparison may take; CPU time, so that a busy machine does not change verdicts."""
WALL_SECONDS = 60.0
"""The longest wait for one comparison, and for a worker to start, whatever the machine is doing."""

_PACKAGE = Path(__file__).parent
_START = """
import importlib, importlib.util, sys
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location("_formulas", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[spec.name])
importlib.import_module("_formulas.worker").main()
"""
"""Loads this folder as a package of its own, whatever is installed under its name, and nothing else of the project."""


@dataclass(frozen=True)
class Comparison:
    """Whether two formulas are equal, and why they could not be compared, if so."""

    equal: bool
    why: str


class FormulaWorker:
    """A process that compares formulas, one pair at a time; several threads may ask."""

    def __init__(self, cpu_seconds: int = CPU_SECONDS) -> None:
        self.cpu_seconds = cpu_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._replies: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ask(self, gold: str, prediction: str) -> Comparison:
        """Compare two formulas."""
        with self._lock:
            process = self._running()
            request = json.dumps({"gold": gold, "prediction": prediction})
            try:
                assert process.stdin is not None
                process.stdin.write(request + "\n")
                process.stdin.flush()
                reply = self._replies.get(timeout=WALL_SECONDS)
            except (BrokenPipeError, queue.Empty):
                reply = ""
            if not reply:
                self._end()
                return Comparison(False, f"They could not be compared within {self.cpu_seconds} seconds of computing.")
            return Comparison(**json.loads(reply))

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._end()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        # -I keeps the current folder and the environment's Python settings out of the worker.
        command = [sys.executable, "-I", "-c", _START, str(_PACKAGE), str(self.cpu_seconds)]
        self._process = subprocess.Popen(  # noqa: S603 - a fixed command
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )
        self._replies = queue.SimpleQueue()
        threading.Thread(target=_pump, args=(self._process, self._replies), daemon=True).start()
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _pump(process: subprocess.Popen[str], replies: queue.SimpleQueue[str]) -> None:
    """Pass the worker's lines on; an empty string says that it has ended."""
    assert process.stdout is not None
    for line in process.stdout:
        replies.put(line)
    replies.put("")


class FormulaWorkers:
    """As many workers as there are cores, each started when all others are busy; several threads may ask."""

    def __init__(self, most: int = 0) -> None:
        self._idle: queue.LifoQueue[FormulaWorker] = queue.LifoQueue()  # the one that was busy last is warm
        for _ in range(most or os.cpu_count() or 1):
            self._idle.put(FormulaWorker())

    def ask(self, gold: str, prediction: str) -> Comparison:
        """Compare two formulas."""
        worker = self._idle.get()
        try:
            return worker.ask(gold, prediction)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the processes that do nothing."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()


_workers: dict[int, FormulaWorkers] = {}


def compare(gold: str, prediction: str) -> Comparison:
    """Compare two formulas in a worker of this process: a forked child must not read replies meant for its parent."""
    workers = _workers.get(os.getpid())
    if workers is None:
        workers = _workers.setdefault(os.getpid(), FormulaWorkers())
        atexit.register(workers.close)
    return workers.ask(gold, prediction)
