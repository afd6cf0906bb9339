"""Measures where the time of a question goes with an embedded model, by role: reading, writing, tools and the rest.

Each question is asked in its own process, as a newcomer would: cold, without cached beginnings of prompts, and warm,
after another question has cached them. The model's file is in the cache both times.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

from evals.benchmarks.loading import load_tasks, sample
from evals.benchmarks.registry import benchmark
from evals.scorers import score
from evals.task import Task
from graph import Context
from graph.errors import AgentFlowError, ConfigError
from graph.trace import TraceStep


@dataclass
class Spent:
    """Seconds of one question, or the mean over several."""

    total: float = 0.0
    """From the start of the process to the answer."""
    start: float = 0.0
    """Imports and loading the model."""
    reading: dict[str, float] = field(default_factory=dict)
    """By role, reading tokens of prompts that are in no cache."""
    writing: dict[str, float] = field(default_factory=dict)
    waiting: dict[str, float] = field(default_factory=dict)
    """By role, the rest of its calls: restoring static beginnings from their files, queues, HTTP."""
    tools: float = 0.0
    rest: float = 0.0
    """Time outside of calls and tools."""
    read_tokens: dict[str, float] = field(default_factory=dict)
    written_tokens: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RolesReport:
    """The measurement."""

    model: str
    questions: int
    cold_seconds: float
    """Median over questions."""
    warm_seconds: float
    cold_accuracy: float
    warm_accuracy: float
    cold: Spent
    """Means over questions."""
    warm: Spent


def measure_roles(model: str, count: int, seed: int) -> RolesReport:
    """Ask `count` questions of `evals/own`, drawn by `seed`, cold and warm.

    Raises:
        AgentFlowError: the model cannot be used.
    """
    from graph.models.embedded import EmbeddedChat
    from graph.models.embedded_files import model_file
    from graph.models.spec import make_model

    chat = make_model(model)
    if not isinstance(chat, EmbeddedChat):
        raise ConfigError(f"{model!r} is not an embedded model; only their speed by role can be measured.")
    file = model_file(chat.model)
    tasks = sample(load_tasks(benchmark("own").name, None), count, seed)
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "AGENTFLOW_CACHE": cache, "AGENTFLOW_MODEL_FILE": str(file)}
        _in_process([model], environment)  # hashes the file, whose hash is then cached

        def ask(place: int, task: Task, how: str) -> tuple[Spent, bool]:
            spent, right = _in_process([model, task.id], environment)
            sys.stderr.write(f"{how} {place} of {len(tasks)}: {spent.total:.1f} s, {'right' if right else 'wrong'}\n")
            return spent, right

        cold = []
        for place, task in enumerate(tasks, 1):
            shutil.rmtree(Path(cache) / "prefixes", ignore_errors=True)
            cold.append(ask(place, task, "cold"))
        warm = [ask(place, task, "warm") for place, task in enumerate(tasks, 1)]
    return RolesReport(
        model=model,
        questions=len(tasks),
        cold_seconds=round(median(spent.total for spent, _ in cold), 1),
        warm_seconds=round(median(spent.total for spent, _ in warm), 1),
        cold_accuracy=sum(right for _, right in cold) / len(tasks),
        warm_accuracy=sum(right for _, right in warm) / len(tasks),
        cold=_mean([spent for spent, _ in cold]),
        warm=_mean([spent for spent, _ in warm]),
    )


def _in_process(words: Sequence[str], environment: dict[str, str]) -> tuple[Spent, bool]:
    began = time.perf_counter()
    command = [sys.executable, "-m", "evals.speed.roles", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines() or ["its process ended without a word"]
        raise ConfigError(f"The question could not be asked: {reason[-1]}")
    report = json.loads(done.stdout)
    spent = Spent(**report["spent"])
    spent.total = time.perf_counter() - began
    spent.start = spent.total - report["seconds"]
    return spent, report["right"]


def _mean(spent: Sequence[Spent]) -> Spent:
    count = len(spent)
    whole = Spent()
    for name, value in asdict(whole).items():
        values = [getattr(one, name) for one in spent]
        if isinstance(value, dict):
            roles = sorted({role for one in values for role in one})
            setattr(whole, name, {role: round(sum(one.get(role, 0.0) for one in values) / count, 2) for role in roles})
        else:
            setattr(whole, name, round(sum(values) / count, 2))
    return whole


def spent_of(steps: Sequence[TraceStep], seconds: float) -> Spent:
    """The seconds of a run, broken down by its trace.

    Args:
        steps: The steps of the trace.
        seconds: The seconds of the whole run.
    """
    reading, writing, waiting, read, written = (defaultdict[str, float](float) for _ in range(5))
    spent = Spent()
    for step in steps:
        if "tool" in step:
            spent.tools += step["seconds"]
            continue
        role = step["role"]
        reading[role] += step.get("reading_seconds", 0.0)
        writing[role] += step.get("writing_seconds", 0.0)
        waiting[role] += step["seconds"] - step.get("reading_seconds", 0.0) - step.get("writing_seconds", 0.0)
        read[role] += step["input_tokens"] - step.get("cached_tokens", 0)
        written[role] += step["output_tokens"]
    spent.reading, spent.writing, spent.waiting = dict(reading), dict(writing), dict(waiting)
    spent.read_tokens, spent.written_tokens = dict(read), dict(written)
    accounted = spent.tools + sum(sum(part.values()) for part in (reading, writing, waiting))
    spent.rest = seconds - accounted
    return spent


async def _ask(model: str, task: Task | None) -> dict[str, Any]:
    """Start the model, ask the question and score the answer."""
    from graph import build_graph
    from graph.models.spec import make_model, preflight
    from graph.trace import traced

    await preflight(make_model(model))
    if task is None:
        return {"spent": asdict(Spent()), "seconds": 0.0, "right": False}
    own = benchmark("own")
    context = Context(model=model, corpus=str(Path(str(files("evals"))) / str(own.packaged_corpus)))
    began = time.perf_counter()
    with traced() as trace:
        state = await build_graph(tools=["python", "local_search"]).ainvoke({"question": task.prompt}, context=context)
    seconds = time.perf_counter() - began
    spent = spent_of(trace.as_dict()["steps"], seconds)
    return {"spent": asdict(spent), "seconds": seconds, "right": score(task, state["answer"]).correct}


def main() -> int:
    """The process of one question: prints its measurement as JSON."""
    model, *ids = sys.argv[1:]
    task = next((task for task in load_tasks("own", None) if [task.id] == ids), None)
    try:
        report = asyncio.run(_ask(model, task))
    except AgentFlowError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
