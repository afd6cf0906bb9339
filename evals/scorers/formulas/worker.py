"""The process behind `process.py`: reads pairs of formulas as JSON lines, writes whether they are equal.

Run by `process.py` alone. The operating system ends it when one comparison uses
up its CPU time (the profiling timer's signal keeps its default action, which no computation can delay) or when it runs
out of memory.
"""

from __future__ import annotations

import json
import resource
import signal
import sys

from .equality import same
from .reader import read
from .tree import Node, UnreadableError

MEMORY_BYTES = 2 * 1024**3


def verdict(gold: str, prediction: str) -> dict[str, object]:
    """Whether two texts are equal as formulas, and why they could not be compared, if so."""
    sides: list[Node] = []
    for what, text in (("reference", gold), ("answer", prediction)):
        try:
            sides.append(read(text))
        except UnreadableError as error:
            return {"equal": False, "why": f"The {what} {error}."}
    return {"equal": same(*sides), "why": ""}


def main() -> None:
    """Serve until standard input ends."""
    cpu_seconds = float(sys.argv[-1])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    verdict("sqrt(x)", "x")  # caches are filled before the first clock starts
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            reply = verdict(request["gold"], request["prediction"])
        except Exception as error:  # noqa: BLE001 - whatever a hostile formula leads to, it is not equal
            reply = {"equal": False, "why": f"They could not be compared ({type(error).__name__})."}
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()
