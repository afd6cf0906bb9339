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

from graph.errors import ModelError
from training.speed.variants import Work

Pass = Callable[[Work], Callable[[], None]]


@dataclass(frozen=True)
class Timing:
    """Seconds of a variant's whole step."""

    seconds: float
    timed: int
    """Micro-batches that were timed; they stand for all."""
    of: int


@dataclass(frozen=True)
class Spread:
    """A figure over all repeats."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Median, minimum and maximum."""
        return cls(median(values), min(values), max(values))


def gradient(work: Work) -> Callable[[], None]:
    """The training pass."""
    return work.gradient


def reference(work: Work) -> Callable[[], None]:
    """The pass of the reference policy, without the adapter."""
    return work.reference


def clocked(action: Callable[[], None]) -> float:
    """Seconds of an action, including the work that it queued on a GPU."""
    _synchronize()
    began = time.perf_counter()
    action()
    _synchronize()
    return time.perf_counter() - began


def time_step(works: Sequence[Work], model: nn.Module, *, sample: int | None, run: Pass = gradient) -> Timing:
    """Times a variant's step.

    Args:
        works: its micro-batches.
        model: its gradients are cleared first.
        sample: number of medium-sized micro-batches to run; the time is scaled by their share of the tokens. Since
            attention grows faster than the number of tokens, this underestimates where sizes differ. None runs all.
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
    """Times variants in turn, each repeat starting with another one, so that disturbances affect all of them.

    Args:
        variants: a function that times one step, by variant.
        repeats: largest number of repeats.
        until: a deadline on the clock of `time.perf_counter`, read before each repeat but the first; no repeat starts
            that would exceed it.

    Returns:
        The timings of each variant, one for each repeat, and the number of repeats.
    """
    names = list(variants)
    timings: dict[str, list[Timing]] = {name: [] for name in names}
    longest = 0.0
    for repeat in range(repeats):
        began = time.perf_counter()
        if repeat and began + longest > until():
            return timings, repeat
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            timings[name].append(variants[name]())
        longest = max(longest, time.perf_counter() - began)
    return timings, repeats


def in_fresh_process(arguments: Sequence[str]) -> dict[str, float]:
    """Runs this benchmark in another process, and returns the JSON that it prints.

    Raises:
        ModelError: the process failed.
    """
    command = [sys.executable, "-m", "training.speed", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ModelError(f"Measuring memory in a fresh process failed: {last[0]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
