"""The process behind `maths.py`: reads pairs of formulas as JSON lines, writes whether they are equal.

Run as a script, never imported. The operating system ends it when one comparison uses up its CPU time (the profiling
timer's signal keeps its default action, which no computation can delay) or when it runs out of memory.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys

MEMORY_BYTES = 2 * 1024**3


def equal(gold: str, prediction: str) -> bool:
    """Whether `math-verify` finds the two formulas equal; False for what it cannot read."""
    from math_verify import parse, verify  # type: ignore[import-untyped]

    gold_parsed = parse(_delimited(gold), parsing_timeout=None)
    parsed = parse(_delimited(prediction), parsing_timeout=None)
    return bool(verify(gold_parsed, parsed, timeout_seconds=None))


def _delimited(text: str) -> str:
    """A formula in dollar signs, which is where math-verify looks for LaTeX."""
    bare = text.strip().strip("$").removeprefix("\\(").removesuffix("\\)").removeprefix("\\[").removesuffix("\\]")
    return f"${bare.strip()}$"


def main() -> None:
    """Serve until standard input ends."""
    cpu_seconds = float(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logging.disable(logging.CRITICAL)
    equal("1", "1")  # imports and caches are paid for before the first clock starts
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            answer = equal(request["gold"], request["prediction"])
        except Exception:  # noqa: BLE001 - whatever the parser makes of a hostile formula, it is not equal
            answer = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(json.dumps({"equal": answer}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
