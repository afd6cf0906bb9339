"""A whole step by phase, on synthetic transcripts: sampling, reference pass, update, optimizer, sync.

The engine is in-process. Tools and frozen roles take no time here, so the rollout phase is generation only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from training.engines.base import Sampling
from training.engines.in_process import TransformersEngine
from training.speed.clock import gradient, reference, time_step
from training.speed.variants import Work
from training.speed.workload import Workload
from training.update.rows import Row


def phases(model: nn.Module, workload: Workload, rows: Sequence[Row], works: Sequence[Work]) -> dict[str, float]:
    """Seconds of each phase, and the engine's rates.

    Args:
        model: the policy.
        workload: sizes of its rollouts.
        rows: of the step; sampling starts from their prompts.
        works: the packed micro-batches.
    """
    engine = TransformersEngine(model, frozenset(), memory_tokens=len(rows) * workload.longest)
    began = time.perf_counter()
    asyncio.run(_sampled(engine, workload, rows))
    sampled = time.perf_counter()
    figures = engine.statistics.reset()
    seconds = {"rollout": sampled - began}
    seconds["reference"] = time_step(works, model, sample=None, run=reference).seconds
    seconds["update"] = time_step(works, model, sample=None, run=gradient).seconds
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    optimizer.step()  # the first one also allocates the optimizer's state
    began = time.perf_counter()
    optimizer.step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds["optimizer"] = time.perf_counter() - began
    seconds["total"] = sum(seconds.values())
    return seconds | {
        "sampled_tokens": figures["sampled_tokens"],
        "sampled_tokens_per_second": figures["sampled_tokens"] / seconds["rollout"],
        "prompt_tokens": figures["prompt_tokens"],
        "prompt_tokens_saved": 1 - figures["computed_tokens"] / figures["prompt_tokens"],
    }


async def _sampled(engine: TransformersEngine, workload: Workload, rows: Sequence[Row]) -> None:
    """Samples every rollout of the step, turn by turn, with random observations."""
    chance = np.random.default_rng(workload.seed + 1)

    async def run(number: int, row: Row) -> None:
        transcript = row.input_ids[: workload.prompt].tolist()
        name = f"run {number}"
        async with engine.admit():
            for turn in range(workload.turns):
                seed = number * workload.turns + turn
                drawn = await engine.generate(transcript, Sampling(1.0, workload.completion), seed=seed, run=name)
                transcript = [*transcript, *drawn.token_ids, *observations[number][turn]]

    high = int(max(row.input_ids.max() for row in rows)) + 1
    observations = chance.integers(0, high, (len(rows), workload.turns, workload.observation)).tolist()
    try:
        await asyncio.gather(*(run(number, row) for number, row in enumerate(rows)))
    finally:
        await engine.aclose()
