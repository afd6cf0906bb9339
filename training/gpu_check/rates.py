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
    found = {}
    for runs in RUNS:
        engine = TransformersEngine(model, frozenset(), max_batch=runs)
        asyncio.run(_sample(engine, 1, ids, reply))  # whatever is set up on first use
        began = time.perf_counter()
        asyncio.run(_sample(engine, runs, ids, reply))
        seconds = time.perf_counter() - began
        found[str(runs)] = {
            "seconds": round(seconds, 3),
            "tokens_per_second": round(runs * reply / seconds, 1),
            "step_ms": round(1000 * seconds / reply, 2),
        }
    return found


async def _sample(engine: TransformersEngine, runs: int, prompt: list[int], reply: int) -> None:
    await engine.sync(0)
    async with asyncio.TaskGroup() as group:
        for number in range(runs):
            group.create_task(engine.generate(prompt, Sampling(1.0, reply), seed=number, run=str(number)))
    await engine.aclose()


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
