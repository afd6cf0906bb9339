"""Numbers and LaTeX: cheap exact comparison first, `math-verify` for what is left.

Integers, decimals and fractions, which nearly all answers are, are compared as exact fractions right here. Anything
else goes to `math-verify` in a worker process of its own (`math_worker.py`), because symbolic simplification can take
for ever and the library's own limit relies on signals, which work on the main thread only. The worker is started on
first use, used again, and limited in CPU time and memory by the operating system; when it is ended for either, the
answer is wrong and the next one gets a fresh worker.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import queue
import re
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

from evals.scorers.final import final_answers
from evals.task import Score, Task, right, wrong

logger = logging.getLogger(__name__)

MAX_FORMULA = 1_000
"""Characters of a formula that is handed to `math-verify`."""
CPU_SECONDS = 5
"""CPU time that one comparison may take; CPU time, so that a busy machine does not change verdicts."""
WALL_SECONDS = 60.0
"""The longest wait for one comparison, and for a worker to start, whatever the machine is doing."""

_WORKER = Path(__file__).with_name("math_worker.py")
_SPACING = re.compile(r"\\(?:[,;:! ]|left|right|displaystyle|text\{[^{}]{0,40}\}|mathrm\{[^{}]{0,40}\}|circ|degree)")
_LATEX_FRACTION = re.compile(r"(-?)\\[dt]?frac\{(-?\d{1,30})\}\{(\d{1,30})\}")
_RATIO = re.compile(r"(-?\d{1,30})/(\d{1,30})")
_DECIMAL = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3}){1,20}|\d{1,60})(?:\.\d{0,60})?|[-+]?\.\d{1,60}")
_NUMBER_IN_TEXT = re.compile(r"(?<![\w.\\])-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?![\w^])")
_SEVERAL = re.compile(r"\b(?:or|and|either)\b|;|,\s|\d,(?!\d{3}(?!\d))")
_WORD = re.compile(r"(?<!\\)\b[A-Za-z]{3,}\b")


def exact_number(text: str) -> Fraction | None:
    """The rational number that a text is, LaTeX or plain, with or without separators; None if it is anything else."""
    text = _SPACING.sub("", text[:MAX_FORMULA]).replace("{,}", ",").replace("−", "-")
    text = text.strip().strip("$").strip().rstrip(".").removeprefix("\\(").removesuffix("\\)").strip().rstrip("^")
    text = re.sub(r"\s+", "", text)
    if match := _LATEX_FRACTION.fullmatch(text):
        sign = -1 if match[1] else 1
        return sign * Fraction(int(match[2]), int(match[3])) if int(match[3]) else None
    if match := _RATIO.fullmatch(text):
        return Fraction(int(match[1]), int(match[2])) if int(match[2]) else None
    if _DECIMAL.fullmatch(text):
        return Fraction(text.replace(",", ""))
    return None


def score_math(task: Task, prediction: object) -> Score:
    """Right if the final number or formula of the prediction equals a reference answer."""
    readings = final_answers(prediction)
    if not readings:
        return wrong("No answer was given.")
    verdict = wrong("Does not equal the reference answer.")
    for gold in task.answers:
        for reading in readings:
            verdict = _compare(gold, reading)
            if verdict.correct:
                return verdict
    return verdict


def _compare(gold: str, reading: str) -> Score:
    gold_number = exact_number(gold)
    number = exact_number(reading)
    if number is None:
        number = _only_number(reading)
    if gold_number is not None and number is not None:
        same = gold_number == number
        return right(f"Equals {gold}.") if same else wrong(f"Is {_shown(reading)}, not {gold}.")
    if " ".join(gold.split()) == " ".join(reading.split()):
        return right(f"Equals {gold}.")
    if len(reading) > MAX_FORMULA or len(gold) > MAX_FORMULA:
        return wrong("Has no single final number or formula.")
    if len(_WORD.findall(reading)) > 1 or (gold_number is not None and _SEVERAL.search(reading)):
        return wrong("Has no single final number or formula.")
    return _verdict_of_worker(gold, reading)


def _only_number(text: str) -> Fraction | None:
    """The number of a sentence that holds exactly one value ("They meet after 27 miles."); None for none or several."""
    if not _WORD.search(text):
        return None
    found = {exact_number(match[0]) for match in _NUMBER_IN_TEXT.finditer(text)}
    if len(found) != 1 or "\\" in text or "^" in text:
        return None
    # A digit outside the number found means there is more than that number (5x, 3rd, 2^10).
    return found.pop() if not re.search(r"\d", _NUMBER_IN_TEXT.sub("", text)) else None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _verdict_of_worker(gold: str, reading: str) -> Score:
    answer = _worker().ask(gold, reading)
    if answer is None:
        return wrong(f"Could not be compared with {gold} within {CPU_SECONDS} seconds of computing.")
    return right(f"Equals {gold}, by math-verify.") if answer else wrong(f"Does not equal {gold}, by math-verify.")


class MathWorker:
    """A process that compares formulas, one at a time; several threads may ask."""

    def __init__(self, cpu_seconds: int = CPU_SECONDS) -> None:
        self.cpu_seconds = cpu_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._replies: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ask(self, gold: str, prediction: str) -> bool | None:
        """Whether two formulas are equal; None if it took too much time or memory to find out."""
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
                return None
            return bool(json.loads(reply)["equal"])

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._end()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        # -I keeps the current folder and the environment's Python settings out of the worker.
        command = [sys.executable, "-I", str(_WORKER), str(self.cpu_seconds)]
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


_workers: dict[int, MathWorker] = {}


def _worker() -> MathWorker:
    """This process's worker: a forked child must not read the replies meant for its parent."""
    worker = _workers.get(os.getpid())
    if worker is None:
        worker = _workers[os.getpid()] = MathWorker()
        atexit.register(worker.close)
    return worker
