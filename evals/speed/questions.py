"""What a question costs beside its models: the real runner, scorer and result file, with the benchmark's graph."""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evals.garbage import collect_less_often
from evals.results import ResultFile
from evals.runs.answerers import agent
from evals.runs.runner import Plan, run
from evals.task import Task

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from graph import Context


@dataclass(frozen=True)
class QuestionsReport:
    """What was measured."""

    questions: int
    accuracy: float
    """1.0, or the measurement means nothing: the fake server knows the answer."""
    seconds: float
    cpu_seconds_per_question: float
    """User and system seconds of this process, imports left out."""


def measure_questions(count: int, tools: Sequence[BaseTool], context: Context) -> QuestionsReport:
    """Evaluate `count` questions whose answer is 42, all concurrently, into a folder that is removed afterwards."""
    from graph import build_graph

    answerer = agent(build_graph(tools=tools, max_turns=context.max_turns), context)
    tasks = [
        Task(id=str(number), question=f"Question {number}: which item comes last?", answers=("42",), benchmark="own")
        for number in range(count)
    ]

    def evaluate(some: list[Task]) -> float:
        with tempfile.TemporaryDirectory() as folder, ResultFile(Path(folder), {"benchmark": "own"}) as file:
            results = asyncio.run(run(some, answerer, file, Plan(concurrency=count)))
        return sum(result.correct for result in results) / len(results)

    evaluate(tasks[:1])
    collect_less_often()
    began, before = time.perf_counter(), _cpu_seconds()
    accuracy = evaluate(tasks)
    spent, seconds = _cpu_seconds() - before, time.perf_counter() - began
    return QuestionsReport(count, accuracy, round(seconds, 3), round(spent / count, 4))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
