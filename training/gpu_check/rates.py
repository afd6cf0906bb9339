"""Tokens a second of the in-process engine at 16, 64 and 256 runs that share a prompt.

python -m training.gpu_check.rates --model FILE.gguf
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

import torch
from torch import nn

from training.engines.base import Sampling
from training.engines.in_process import TransformersEngine
from training.models.policy import load_policy

RUNS = (16, 64, 256)
PROMPT, REPLY = 700, 64


def rates(model: nn.Module, vocabulary: int, prompt: int = PROMPT, reply: int = REPLY) -> dict[str, dict[str, float]]:
    """By the number of runs: seconds, sampled tokens a second, and milliseconds of a decoding step for all runs."""
    ids = [(7 * place) % (vocabulary - 10) for place in range(prompt)]
    report = {}
    for runs in RUNS:
        seconds = asyncio.run(_seconds(model, runs, ids, reply))
        report[str(runs)] = {
            "seconds": round(seconds, 3),
            "tokens_per_second": round(runs * reply / seconds, 1),
            "step_ms": round(1000 * seconds / reply, 2),
        }
    return report


async def _seconds(model: nn.Module, runs: int, prompt: list[int], reply: int) -> float:
    """What so many completions take, after one that sets up whatever is set up on first use."""
    engine = TransformersEngine(model, frozenset(), max_batch=runs)
    await engine.generate(prompt, Sampling(1.0, reply), seed=0, run="first")
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(runs):
            group.create_task(engine.generate(prompt, Sampling(1.0, reply), seed=number, run=str(number)))
    seconds = time.perf_counter() - began
    await engine.aclose()
    return seconds


def main() -> int:
    """Prints the rates as JSON."""
    parser = argparse.ArgumentParser(prog="python -m training.gpu_check.rates")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", required=True)
    options = parser.parse_args()
    model: Any
    model, _ = load_policy(options.model)
    model.to(options.device).eval()
    with torch.no_grad():
        shorter = 1 if options.device == "cuda" else 10  # a dry run shows that it runs, not how fast
        report = rates(model, int(model.config.vocab_size), PROMPT // shorter, REPLY // shorter)
        sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
