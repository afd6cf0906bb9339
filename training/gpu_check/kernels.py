"""The time of one packed gradient by kind of kernel: python -m training.gpu_check.kernels --model 7b"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable

from torch.profiler import ProfilerActivity, profile

from training.speed.variants import make_model, packed
from training.speed.workload import Options, rows_of, step_of

KINDS = (
    ("attention", r"flash|flex|attention|fmha"),
    ("matrix products", r"gemm|gemv|cutlass|nvjet|matmul|addmm|::mm|::bmm|::linear|xmma"),
    ("copies", r"copy|_to_copy|memcpy|cast"),
    ("sums", r"reduce|sum|norm|softmax|mean"),
    ("element-wise", r"elementwise|vectorized|mul|add|silu|liger|triton"),
)
"""Kinds of kernels by words in their names; the first that fits counts."""


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


def main() -> int:
    """Prints milliseconds by kind as JSON."""
    parser = argparse.ArgumentParser(prog="python -m training.gpu_check.kernels")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="7b")
    words = parser.parse_args()
    import torch

    on_gpu = words.device == "cuda"
    options = Options(model=words.model, device=words.device)
    if not on_gpu:
        options = Options(model=words.model, device=words.device, prompt=40, completion=8)
    model = make_model(options.model, options.device, torch.bfloat16 if on_gpu else torch.float32)
    rows = rows_of(step_of(options.workload, int(model.config.vocab_size)))  # type: ignore[union-attr, arg-type]
    work = max(packed(model, rows, options.budget), key=lambda work: work.tokens)
    work.gradient()
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiled:
        work.gradient()
        if on_gpu:
            torch.cuda.synchronize()
    attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    kernels = [(event.key, getattr(event, attribute)) for event in profiled.key_averages()]
    sys.stdout.write(json.dumps({"tokens": work.tokens, "milliseconds": by_kind(kernels)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
