"""Rollouts of the real graph against the fake model server, timed."""

from __future__ import annotations

import asyncio
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

from langchain_core.tools import BaseTool, StructuredTool

from evals.garbage import collect_less_often
from evals.speed.memory import peak_resident_bytes
from evals.speed.planning_ahead import AheadReport, compare_ahead
from graph import Context


@dataclass(frozen=True)
class SpeedReport:
    """The measurement."""

    rollouts: int
    turns: int
    latency_ms: float
    processes: int
    seconds: float
    """Wall seconds from the first request to the last answer."""
    ideal_seconds: float
    model_calls_per_rollout: float
    cpu_seconds: float
    """User and system seconds of the processes that ran the graph."""
    cpu_ms_per_call: float
    cpu_seconds_per_rollout: float
    memory_mb: float
    """Peak resident memory of the processes that ran the graph, all together."""
    server_cpu_seconds: float
    """CPU seconds of the fake server on the same cores, including its start."""


def bench_tools() -> list[BaseTool]:
    """Two tools that cost nothing, to measure only the graph."""

    async def compute(query: str) -> str:
        """Compute something."""
        return f"computed {query}"

    async def lookup(query: str) -> str:
        """Look something up."""
        return f"found {query}"

    return [StructuredTool.from_function(coroutine=compute), StructuredTool.from_function(coroutine=lookup)]


@contextmanager
def serving(turns: int, latency_ms: float) -> Iterator[str]:
    """Run a fake model server in its own process; yields its base URL."""
    command = [sys.executable, "-m", "evals.speed.fake_server", "--turns", str(turns), "--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _cpu_seconds(who: int = resource.RUSAGE_SELF) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def roll_out(rollouts: int, turns: int, url: str) -> tuple[int, float, int]:
    """Run the graph on one event loop; returns model calls, CPU seconds and peak resident bytes of this process."""
    from graph import build_graph

    context = Context(model=f"fake@{url}", max_turns=turns)
    graph = build_graph(tools=bench_tools())

    async def one(number: int) -> int:
        state = await graph.ainvoke({"question": f"Question {number}: which item comes last?"}, context=context)
        if state["answer"] != "42" or len(state["memory"]) != turns:
            raise RuntimeError(f"rollout {number} ended with {state['answer']!r} after {len(state['memory'])} turns")
        return sum(cost["calls"] for cost in state["usage"].values())

    async def everything() -> int:
        return sum(await asyncio.gather(*(one(number) for number in range(rollouts))))

    collect_less_often()
    before = _cpu_seconds()
    return asyncio.run(everything()), _cpu_seconds() - before, peak_resident_bytes()


def _warm_up(turns: int, url: str, everyone: Barrier) -> None:
    """Import and connect, which is not to be measured, and wait for all other processes."""
    roll_out(1, turns, url)
    everyone.wait()


def _in_processes(shares: list[int], turns: int, url: str) -> tuple[list[tuple[int, float, int]], float]:
    """Run each share of the rollouts in its own process; returns the results of `roll_out`, and the wall seconds."""
    count = len(shares)
    context = get_context("spawn")
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_warm_up, initargs=(turns, url, context.Barrier(count))
    ) as pool:
        list(
            pool.map(_cpu_seconds, [resource.RUSAGE_SELF] * count)
        )  # the pool starts its processes when asked for work
        began = time.perf_counter()
        results = list(pool.map(roll_out, shares, [turns] * count, [url] * count))
        return results, time.perf_counter() - began


def measure(rollouts: int, turns: int, latency_ms: float, processes: int = 1) -> SpeedReport:
    """Measure `rollouts` runs of `turns` turns, spread over `processes`."""
    with serving(turns, latency_ms) as url:
        if processes == 1:
            roll_out(1, turns, url)
            began = time.perf_counter()
            results = [roll_out(rollouts, turns, url)]
            seconds = time.perf_counter() - began
        else:
            shares = [rollouts // processes + (rank < rollouts % processes) for rank in range(processes)]
            results, seconds = _in_processes(shares, turns, url)
        before = _cpu_seconds(resource.RUSAGE_CHILDREN)
    calls = sum(count for count, _, _ in results)
    cpu = sum(spent for _, spent, _ in results)
    return SpeedReport(
        rollouts=rollouts,
        turns=turns,
        latency_ms=latency_ms,
        processes=processes,
        seconds=round(seconds, 3),
        ideal_seconds=round(math.ceil(calls / rollouts) * latency_ms / 1000, 3),
        model_calls_per_rollout=calls / rollouts,
        cpu_seconds=round(cpu, 3),
        cpu_ms_per_call=round(1000 * cpu / calls, 3),
        cpu_seconds_per_rollout=round(cpu / rollouts, 4),
        memory_mb=round(sum(memory for _, _, memory in results) / 2**20),
        server_cpu_seconds=round(_cpu_seconds(resource.RUSAGE_CHILDREN) - before, 3),
    )


def measure_ahead(rollouts: int, turns: int, latency_ms: float, model: str | None = None, seed: int = 0) -> AheadReport:
    """Compare runs with and without planning ahead, with the fake server, or with `model` on questions drawn by `seed`.

    Raises:
        AgentFlowError: the model cannot be used.
    """

    if model is None:
        questions = [f"Question {number}: which item comes last?" for number in range(rollouts)]
        with serving(turns, latency_ms) as url:
            context = Context(model=f"fake@{url}", max_turns=turns + 1)  # so that the last planned step is discarded
            return asyncio.run(compare_ahead(questions, bench_tools(), context))
    from evals.benchmarks.loading import load_tasks, sample
    from evals.benchmarks.registry import benchmark

    own = benchmark("own")
    questions = [task.prompt for task in sample(load_tasks(own.name, None), rollouts, seed)]
    context = Context(model=model, corpus=str(Path(str(files("evals"))) / own.packaged_corpus))
    return asyncio.run(compare_ahead(questions, ["python", "local_search"], context))
