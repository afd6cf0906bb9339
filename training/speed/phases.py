"""A whole step by phase, on synthetic transcripts: sampling, reference pass, update, optimizer, sync.

The engine is the in-process one; tools and frozen modules cost nothing here, so the rollout phase is generation alone.
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
        rows: of the step; their prompts open the transcripts that are sampled.
        works: the packed micro-batches.
    """
    engine = TransformersEngine(model, frozenset(), memory_tokens=len(rows) * workload.longest)
    began = time.perf_counter()
    asyncio.run(_sampled(engine, workload, rows))
    sampled = time.perf_counter()
    figures = engine.statistics.reset()
    made = {"rollout": sampled - began}
    made["reference"] = time_step(works, model, sample=None, run=reference).seconds
    made["update"] = time_step(works, model, sample=None, run=gradient).seconds
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    optimizer.step()  # the first one also makes the optimizer's state
    began = time.perf_counter()
    optimizer.step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    made["optimizer"] = time.perf_counter() - began
    made["total"] = sum(made.values())
    made["sampled_tokens"] = figures["sampled_tokens"]
    made["sampled_tokens_per_second"] = figures["sampled_tokens"] / made["rollout"]
    made["prompt_tokens"] = figures["prompt_tokens"]
    made["prompt_tokens_saved"] = 1 - figures["computed_tokens"] / figures["prompt_tokens"]
    return made


async def _sampled(engine: TransformersEngine, workload: Workload, rows: Sequence[Row]) -> None:
    """Every rollout of the step, turn by turn, with observations drawn at random."""
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
