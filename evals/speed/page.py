"""Measures how fast a large training run is read: `python -m evals.speed.page --rollouts 10000 --json`.

It writes rollouts of typical size (three turns, 6,000 prompt ids, all prompts: about 80 kB a line) into a temporary
folder, then measures a fresh process that reads them and answers the requests of a first view.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PER_STEP = 256
_WORDS = ("river", "town", "founder", "bridge", "archive", "keeper", "ledger", "harbour", "traveller", "map")


def write_rollouts(folder: Path, count: int) -> int:
    """Write rollouts as training does, 256 per step; returns their size in bytes."""
    chance = random.Random(0)
    ids = [json.dumps([chance.randrange(150_000) for _ in range(1700 + 300 * turn)]) for turn in range(3)]
    (folder / "rollouts").mkdir(parents=True)
    size = 0
    for start in range(0, count, _PER_STEP):
        step = start // _PER_STEP
        with (folder / "rollouts" / f"step-{step:06d}.jsonl").open("w", encoding="utf-8") as file:
            for number in range(start, min(count, start + _PER_STEP)):
                size += file.write(_line(chance, step, number, ids))
    return size


def _text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(_WORDS, k=words))


def _line(chance: random.Random, step: int, number: int, ids: Sequence[str]) -> str:
    task, index = f"t{number % _PER_STEP // 8}", number % 8
    identity = f"{step}/{task}/{index}"
    turns = [
        f'{{"run": "{identity}", "prompt_ids": {prompt}, "completion_ids": {list(range(60))}, '
        f'"logprobs": {[-0.25] * 60}, "policy_version": {step}, "temperature": 1.0, "finish_reason": "stop"}}'
        for prompt in ids
    ]
    memory = [_turn(chance) for _ in range(3)]
    steps = [
        {"role": role, "turn": turn, "started": turn * 1.0, "seconds": 0.2, "prompt": [["system", 0], ["human", 1]],
         "reply": 1, "input_tokens": 2000, "output_tokens": 60}
        for turn in range(3) for role in ("planner", "executor", "verifier")
    ]  # fmt: skip
    reward = float(chance.random() < 0.5)
    rollout: dict[str, Any] = {
        "schema": 1, "id": identity, "task": {"id": task, "question": f"Where is {task}?", "answers": ["here"],
        "choices": None, "scorer": "match", "benchmark": "town", "metadata": {}},
        "step": step, "index": index, "seed": 1,
        "turns": "TURNS", "reward": reward, "rewards": {"outcome": reward}, "failure": None, "answer": "here",
        "ended_by": "verifier", "analysis": _text(chance, 20), "memory": memory,
        "usage": {role: {"calls": 3, "input_tokens": 6000, "output_tokens": 180, "seconds": 0.6}
                  for role in ("planner", "executor", "verifier")},
        "trace": {"texts": [_text(chance, 900), *(_text(chance, 100) for _ in range(20))], "steps": steps},
        "seconds": 3.0, "attempts": 1, "captured": True,
    }  # fmt: skip
    return json.dumps(rollout).replace('"TURNS"', f"[{', '.join(turns)}]") + "\n"


def _turn(chance: random.Random) -> dict[str, Any]:
    plan = {
        "justification": _text(chance, 12), "context": _text(chance, 8), "sub_goal": _text(chance, 8),
        "tool_name": chance.choice(("python", "local_search", "wikipedia_search")), "input": "",
        "reply": _text(chance, 30), "error": None,
    }  # fmt: skip
    call = {"arguments": {"query": _text(chance, 8)}, "result": _text(chance, 220), "error": None, "seconds": 0.1}
    verdict = {
        "accepted": True,
        "stop": False,
        "reason": _text(chance, 12),
        "answer": "",
        "missing": "",
        "source": "model",
    }
    return {"reply": plan["reply"], "plan": plan, "calls": [call], "error": None, "verdict": verdict,
            "observation": _text(chance, 230)}  # fmt: skip


def measure(folder: Path) -> dict[str, float]:
    """Seconds and megabytes for reading a folder in this process, and for the page's first requests."""
    from evals.speed.memory import peak_resident_bytes
    from evals.view.library import Library
    from evals.view.page import SCRIPTS, STYLES, asset, served_page
    from evals.view.values import write

    def timed(work: Any) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return time.perf_counter() - wall, time.process_time() - cpu

    libraries: list[Library] = []
    index = timed(lambda: libraries.append(Library([folder])))
    library = libraries[0]
    rows = library.sources[0].index.rows

    def first_view() -> None:
        served_page()
        for name in (*STYLES, *SCRIPTS):
            asset(name)
        write(library.overview())
        write(library.rows(0))

    view = timed(first_view)
    run = timed(lambda: write(library.run(0, len(rows) // 2, library.sources[0].index.generation)))
    search = timed(lambda: library.search(0, '"bridge archive" harbour'))
    return {
        "runs": len(rows), "index_seconds": index[0], "index_cpu_seconds": index[1], "first_view_seconds": view[0],
        "first_view_cpu_seconds": view[1], "open_run_seconds": run[0], "search_seconds": search[0],
        "peak_mb": peak_resident_bytes() / 2**20,
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m evals.speed.page")
    parser.add_argument("--rollouts", type=int, default=10_000)
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)  # for the fresh process
    options = parser.parse_args(argv)
    if options.read:
        sys.stdout.write(json.dumps(measure(options.read)) + "\n")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        size = write_rollouts(run, options.rollouts)
        command = [sys.executable, "-m", "evals.speed.page", "--read", str(run)]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603
    figures = {"rollouts": options.rollouts, "megabytes": round(size / 1e6, 1), **figures}
    if options.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        sys.stdout.write("".join(f"{name:<24}{value:>12.3f}\n" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
