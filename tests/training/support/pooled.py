"""An agent for several processes, and a program that rolls it out without end: `python -m ... FOLDER`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from evals.loop_thread import LoopThread
from evals.task import Task
from graph.errors import ConfigError, ModelUnavailable
from training.engines.base import Engine, Sampling
from training.engines.vllm.sampler import Lent
from training.rollouts.collector import Collector, CollectorSettings
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.rewards import make_reward
from training.rollouts.store import RolloutStore


class Lender:
    """An engine that lends what no test samples with, and answers questions."""

    def __init__(self) -> None:
        self.counted: list[tuple[int, int, int]] = []
        self.recovered = 0

    @asynccontextmanager
    async def lent(self):  # type: ignore[no-untyped-def]
        yield Lent(("http://127.0.0.1:9/v1",), None, frozenset({2}), 512, {"default": "x"}, 3, 1)

    def count(self, requests: int, prompt_tokens: int, sampled_tokens: int) -> None:
        self.counted.append((requests, prompt_tokens, sampled_tokens))

    async def recover(self) -> None:
        self.recovered += 1


class PoolAgent:
    """Does what the question says; its answer is the number of its process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def prepare(self, task: Task, seed: int) -> Mapping[str, Any]:
        return {}

    async def run(self, task: Task, start: Mapping[str, Any], policy: PolicyChat, seed: int) -> Mapping[str, Any]:
        match task.question:
            case "dead":
                raise ModelUnavailable("The service is gone.")
            case "odd":
                raise LookupError("a defect")
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "slow":
                while policy.seconds_left() > 0:
                    await asyncio.sleep(0.01)
            case "endless":
                await self._endless(policy.run.replace("/", "."))
        return {"answer": str(os.getpid())}

    async def _endless(self, name: str) -> None:
        (self.folder / f"began-{name}").touch()
        (self.folder / f"process-{os.getpid()}").touch()
        try:
            await asyncio.sleep(600)
        finally:
            (self.folder / f"ended-{name}").touch()

    def turns(self, state: Mapping[str, Any], policy: PolicyChat) -> Sequence[Any]:
        return ()


def worth(task: Task, state: Mapping[str, Any]) -> Any:
    return "none" if task.question == "nan" else 1.0


def collectors_of(folder: Path, settings: CollectorSettings, engine: Engine) -> dict[str, Collector]:
    chat: Any = None  # the agent asks nobody

    def make_policy(run: str, seed: int) -> PolicyChat:
        return PolicyChat(engine=engine, chat=chat, sampling=Sampling(), run=run, seed=seed)

    reward = make_reward(f"{__name__}:worth")
    return {"training": Collector(PoolAgent(folder), engine, make_policy, reward, settings, store=RolloutStore(folder))}


def refuses(engine: Engine) -> dict[str, Collector]:
    raise ConfigError("There is no such tool: no such tool.")


def main() -> None:
    """Rolls out until it is killed."""
    from tests.training.support.pooled import collectors_of  # under the name that other processes know
    from training.rollouts.pool import Pool, PooledRollouts

    folder, settings = Path(sys.argv[1]), CollectorSettings(group_size=2)
    pool = Pool(2, Lender(), partial(collectors_of, folder, settings))
    source = PooledRollouts(pool, "training", settings, RolloutStore(folder))
    loop = LoopThread()
    try:
        loop.run(source.collect(0, [Task(id=name, question="endless", answers=()) for name in "ab"]))
    finally:
        loop.run(pool.aclose())
        loop.close()


if __name__ == "__main__":
    main()
