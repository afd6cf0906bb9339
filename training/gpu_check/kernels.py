"""One packed update on a GPU: seconds, utilisation, memory, and its time by kind of kernel, in several ways.

    python -m training.gpu_check.kernels --model 7b

The ways are gradient checkpointing and none, and both attention kernels. One that fails, for instance for want of
memory, is reported with its reason. A JSON line follows each way and holds all figures so far; the longest kernels of
each go to standard error.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any, Literal

import torch
from torch.profiler import ProfilerActivity, profile

from graph.errors import AgentFlowError
from training.engines.decoding import causal_model
from training.models.device import peak_memory
from training.models.flops import accelerator, shape_of
from training.speed.benchmark import dtype_of, operations_of
from training.speed.clock import clocked
from training.speed.variants import LORA_RANK, Work, make_model, packed
from training.speed.workload import Options, rows_of, step_of
from training.update import attention
from training.update.packing import pack

KINDS = (
    ("attention", r"flash|flex|attention|fmha"),
    ("matrix products", r"gemm|gemv|cutlass|nvjet|matmul|addmm|::mm|::bmm|::linear|xmma"),
    ("copies", r"copy|_to_copy|memcpy|cast"),
    ("sums", r"reduce|sum|norm|softmax|mean"),
    ("element-wise", r"elementwise|vectorized|mul|add|silu|liger|triton"),
)
"""Kinds of kernels by words in their names; the first that fits counts."""

WAYS: tuple[tuple[str, bool, int, Literal["flash", "flex"]], ...] = (
    ("checkpointing", True, 1, "flash"),
    ("no checkpointing", False, 1, "flash"),
    ("no checkpointing, twice the token budget", False, 2, "flash"),
    ("FlexAttention, checkpointing", True, 1, "flex"),
)
"""Names, whether activations are recomputed, tokens of a micro-batch relative to the usual, and what attends."""

REPEATS = 3
LONGEST = 40
"""Kernels that are told by name."""


def kind_of(kernel: str) -> str:
    """The kind of a kernel, or `other`."""
    return next((kind for kind, words in KINDS if re.search(words, kernel, re.IGNORECASE)), "other")


def by_kind(kernels: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Milliseconds by kind, most first.

    Args:
        kernels: names and microseconds.
    """
    totals: dict[str, float] = defaultdict(float)
    for name, microseconds in kernels:
        totals[kind_of(name)] += microseconds / 1000
    return {kind: round(total, 2) for kind, total in sorted(totals.items(), key=lambda pair: -pair[1])}


def measured(options: Options, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The figures of all ways, by name.

    Args:
        options: model, device and step.
        tell: called after each way with all figures so far.
    """
    model: Any = make_model(options.model, options.device, dtype_of(options.device), checkpointing=False)
    rows = rows_of(step_of(options.workload, int(model.config.vocab_size)))
    found: dict[str, Any] = {}
    for name, checkpointing, budgets, kernel in WAYS:
        works = packed(model, rows, budgets * options.budget)
        batches = pack(rows, budgets * options.budget)
        counted = operations_of(shape_of(model.config), batches, lora_rank=LORA_RANK, checkpointing=False)
        attention.cuda_kernel = kernel
        base = causal_model(model)
        if checkpointing:
            base.gradient_checkpointing_enable({"use_reentrant": False})
        else:
            base.gradient_checkpointing_disable()  # type: ignore[no-untyped-call]
        sys.stderr.write(f"{name}\n")
        try:
            found[name] = _of_way(works, options.device, counted.model)
        except (RuntimeError, MemoryError, AgentFlowError) as error:
            found[name] = {"failed": (str(error).splitlines() or [type(error).__name__])[0][:200]}
        model.zero_grad(set_to_none=True)
        if options.device == "cuda":
            torch.cuda.empty_cache()
        tell(found)
    return found


def _of_way(works: Sequence[Work], device: str, model_operations: float) -> dict[str, Any]:
    on_gpu = device == "cuda"

    def step() -> None:
        for work in works:
            work.gradient()

    first = clocked(step)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds = median(clocked(step) for _ in range(REPEATS))
    figures: dict[str, Any] = {
        "seconds": round(seconds, 4), "first_seconds": round(first, 2), "tokens": sum(work.tokens for work in works),
        "peak_gib": round(peak_memory(device) / 2**30, 2),
    }  # fmt: skip
    card = accelerator(torch.cuda.get_device_name()) if on_gpu else None
    if card is not None:
        figures["model_flop_utilisation"] = round(model_operations / seconds / card.operations, 4)
    largest = max(works, key=lambda work: work.tokens)
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiled:
        clocked(largest.gradient)
    attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    kernels = sorted(profiled.key_averages(), key=lambda event: -getattr(event, attribute))
    figures["milliseconds"] = by_kind((event.key, getattr(event, attribute)) for event in kernels)
    for event in kernels[:LONGEST]:
        milliseconds = getattr(event, attribute) / 1000
        sys.stderr.write(f"{milliseconds:9.2f} ms {event.count:6d} times {kind_of(event.key):16} {event.key[:160]}\n")
    return figures


def main() -> int:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m training.gpu_check.kernels")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--model", default="7b")
    words = parser.parse_args()
    options = Options(model=words.model, device=words.device)
    if words.device == "cpu":
        options = Options(model=words.model, device=words.device, prompt=40, completion=8)

    def tell(figures: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(figures) + "\n")
        sys.stdout.flush()

    measured(options, tell)
    return 0


if __name__ == "__main__":
    sys.exit(main())
