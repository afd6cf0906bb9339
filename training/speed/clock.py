"""Clocks and memory for the benchmark of updates."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from evals.speed.memory import peak_resident_bytes
from graph.errors import ModelError
from training.speed.variants import Work

Pass = Callable[[Work], Callable[[], None]]


@dataclass(frozen=True)
class Timing:
    """Seconds of a variant's whole step."""

    seconds: float
    timed: int
    """Micro-batches that were timed, and stand for the others."""
    of: int


@dataclass(frozen=True)
class Spread:
    """A figure over the repeats."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Median, least and greatest."""
        return cls(median(values), min(values), max(values))


def gradient(work: Work) -> Callable[[], None]:
    """The pass that trains."""
    return work.gradient


def reference(work: Work) -> Callable[[], None]:
    """The pass without the adapter."""
    return work.reference


def clocked(action: Callable[[], None]) -> float:
    """Seconds of an action, to the end of what it started on a GPU."""
    _synchronize()
    began = time.perf_counter()
    action()
    _synchronize()
    return time.perf_counter() - began


def time_step(works: Sequence[Work], model: nn.Module, *, sample: int | None, run: Pass = gradient) -> Timing:
    """Times a variant's step.

    Args:
        works: its micro-batches.
        model: whose gradients are dropped first.
        sample: so many micro-batches of middling size are run and stand for all, by their share of the tokens. The
            cost of attention grows faster than the tokens, so this is rather too little for sizes that differ. None
            runs all.
        run: which pass.
    """
    model.zero_grad(set_to_none=True)
    ordered = sorted(works, key=lambda work: work.tokens)
    first = max(0, len(ordered) - sample) // 2 if sample else 0
    chosen = ordered[first : first + sample] if sample else ordered
    seconds = sum(clocked(run(work)) for work in chosen)
    share = sum(work.tokens for work in chosen) / sum(work.tokens for work in works)
    return Timing(seconds / share, len(chosen), len(works))


def alternate(
    variants: Mapping[str, Callable[[], Timing]], repeats: int, until: Callable[[], float]
) -> tuple[dict[str, list[Timing]], int]:
    """Times variants in turn, each repeat beginning with another one, so that disturbances meet all of them.

    Args:
        variants: what times one step of each.
        repeats: how often, at most.
        until: a time of `time.perf_counter`, asked before each further repeat; none is begun that would end later, but
            the first is always made.

    Returns:
        The timings of each variant, one for each repeat, and the number of repeats.
    """
    names = list(variants)
    found: dict[str, list[Timing]] = {name: [] for name in names}
    longest = 0.0
    for repeat in range(repeats):
        began = time.perf_counter()
        if repeat and began + longest > until():
            return found, repeat
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            found[name].append(variants[name]())
        longest = max(longest, time.perf_counter() - began)
    return found, repeats


def peak_memory(device: str) -> int:
    """Most bytes that this process has held: resident ones, or on the GPU those that were allocated."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return peak_resident_bytes()


def in_fresh_process(arguments: Sequence[str]) -> dict[str, float]:
    """Runs this benchmark again with other arguments, and reads the JSON that it prints.

    Raises:
        ModelError: it failed.
    """
    command = [sys.executable, "-m", "training.speed", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ModelError(f"Measuring memory in a fresh process failed: {last[0]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
