"""Sampled tokens per second at 16, 64 and 256 runs that share a prompt, with the engine of a training run.

    python -m training.gpu_check.rates --model FILE.gguf [--engine vllm]

The policy has an adapter, as in training; with `--engine vllm` a run's own server is started and given it. A JSON line
follows each number of runs and holds all figures so far, so that an interrupted measurement is not lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from training.engines.base import Engine, Sampling
from training.engines.kinds import ENGINES, IN_PROCESS, VLLM
from training.flow_grpo.build import end_ids_of, engine_for
from training.flow_grpo.config import FlowGRPOConfig, load_config
from training.flow_grpo.micro_batches import room_of, settled
from training.flow_grpo.own_server import OwnServer, shape_before_loading
from training.models.device import device_of
from training.models.policy import load_policy, with_adapter
from training.rollouts.chat_tokens import ChatTokens
from training.run.command import run
from training.update.logprobs import attach_scoring

RUNS = (16, 64, 256)
PROMPT, REPLY = 700, 64

Rates = dict[str, dict[str, float]]


async def rates(engine: Engine, vocabulary: int, prompt: int, reply: int, tell: Callable[[Rates], None]) -> Rates:
    """By the number of runs: seconds, sampled tokens per second, and milliseconds of a decoding step for all runs.

    Args:
        engine: closed afterwards.
        vocabulary: number of tokens.
        prompt, reply: lengths in tokens; a reply may end earlier.
        tell: called after each number of runs with all figures so far.
    """
    found: Rates = {}
    try:
        await engine.sync(0)
        for runs in RUNS:
            # A prompt of its own for each number, so that its first pass is part of the time.
            ids = [(7 * place + runs) % (vocabulary - 10) for place in range(prompt)]
            await engine.generate(ids[::-1], Sampling(1.0, 2), seed=0, run="warm-up")
            began = time.perf_counter()
            replies = await asyncio.gather(
                *(engine.generate(ids, Sampling(1.0, reply), seed=number, run=str(number)) for number in range(runs))
            )
            seconds = time.perf_counter() - began
            tokens = sum(len(each.token_ids) for each in replies)
            found[str(runs)] = {
                "seconds": round(seconds, 3),
                "tokens_per_second": round(tokens / seconds, 1),
                "step_ms": round(1000 * seconds / max(len(each.token_ids) for each in replies), 2),
            }
            tell(found)
    finally:
        await engine.aclose()
    return found


def main() -> int:
    """Prints the rates as JSON; returns the exit code."""
    return run(_work)


def _work() -> None:
    from training.gpu_check.parts import RECIPE

    parser = argparse.ArgumentParser(prog="python -m training.gpu_check.rates")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--model", required=True, help="a folder or a GGUF file")
    parser.add_argument("--engine", choices=(IN_PROCESS, VLLM), default=IN_PROCESS)
    parser.add_argument("--vllm-command", default="vllm")
    parser.add_argument("--vllm-options", default="")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--out", help="folder for the server's log; default: none is kept")
    options = parser.parse_args()
    with nullcontext(options.out) if options.out else tempfile.TemporaryDirectory(prefix="rates-") as folder:
        unused = {"tasks": "unused", "validation": None, "validation_every": 0, "validation_limit": None}
        settings = {"model": options.model, "out": folder, "engine": options.engine, "device": options.device, **unused}
        settings |= {"dtype": options.dtype, "max_batch": max(RUNS), "vllm_command": options.vllm_command}
        settings |= {"tasks_per_step": 1, "group_size": max(RUNS)}  # a server is started for as many at once
        config = load_config(RECIPE, settings | {"vllm_options": options.vllm_options})
        if options.device == "cuda" and config.starts_server:
            config = settled(config, shape_before_loading(config), room_of(config))
        shorter = 1 if options.device == "cuda" else 10  # a dry run shows that it runs, not how fast
        with OwnServer(config) as server, torch.no_grad():
            engine, vocabulary = _engine(config, server)
            asyncio.run(rates(engine, vocabulary, PROMPT // shorter, REPLY // shorter, _tell))


def _engine(config: FlowGRPOConfig, server: Any) -> tuple[Engine, int]:
    base, tokenizer = load_policy(config.model, config.dtype)
    model = with_adapter(
        base, rank=config.lora_rank, alpha=config.lora_alpha, targets=config.lora_targets, seed=config.seed
    )
    model.to(device_of(config.device)).eval()
    attach_scoring(model)
    chat = ChatTokens(tokenizer, end_ids_of(base))
    return engine_for(ENGINES[config.engine], config, model, chat, server), int(base.config.vocab_size)


def _tell(figures: Rates) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
