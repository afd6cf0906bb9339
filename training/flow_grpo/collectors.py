"""What rolls out in a training run: collectors in the trainer's process, or in several processes of their own.

`rollout_processes: auto` takes one process for every 128 rollouts that a step has at once (an event loop makes 300 to
900 model calls a second), on at most half of the cores: the others are for the sandbox and the servers. It is one
where the policy or a frozen model samples in this process, and where the agent was handed over as an object, which
another process cannot have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from graph.errors import ConfigError
from graph.models.cores import usable_cores
from training.engines.base import Engine, Sampling
from training.engines.kinds import ENGINES
from training.flow_grpo.agent import load_agent
from training.flow_grpo.config import FlowGRPOConfig
from training.rollouts.agents import Agent
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.collector import Collector, CollectorSettings
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.pool import LendingEngine, Pool, PooledRollouts
from training.rollouts.rewards import make_reward
from training.rollouts.store import RolloutStore
from training.run import ranks
from training.run.folder import ROLLOUTS, VALIDATIONS

TRAINING, VALIDATION = "training", "validation"
"""Names of the collectors."""

_ROLLOUTS = 128
"""Rollouts at once that one event loop serves without being the limit."""


def make_collector(
    config: FlowGRPOConfig,
    agent: Agent,
    engine: Engine,
    chat: ChatTokens,
    sampling: Sampling,
    group_size: int,
    store: RolloutStore,
    *,
    hurries: bool = False,
) -> Collector:
    """A collector by the settings of a run; `hurries`: whether its stragglers may be hurried (`tail_fraction`)."""

    def make_policy(run: str, seed: int) -> PolicyChat:
        return PolicyChat(engine=engine, chat=chat, sampling=sampling, run=run, seed=seed)

    reward = make_reward(
        config.reward,
        format_weight=config.format_weight,
        length_weight=config.length_weight,
        max_tokens=config.max_tokens,
        cache=Path(config.out) / "judged",
    )
    settings = _settings(config, group_size, hurries=hurries)
    if config.concurrency is None and not config.deterministic:
        # An engine in this process computes so many at a time; further runs would wait inside their own time budgets.
        settings = replace(settings, concurrency=getattr(engine, "max_batch", None))
    return Collector(agent, engine, make_policy, reward, settings, seed=config.seed, store=store)


def make_collectors(
    config: FlowGRPOConfig, chat: ChatTokens, engine: Engine, agent: Agent | None = None
) -> dict[str, Collector]:
    """The collectors of a run by name: of its steps, and of its validations."""
    agent = agent or load_agent(config, asks=False)
    out = Path(config.out)
    training = Sampling(config.temperature, config.max_tokens)
    validating = Sampling(config.validation_temperature, config.max_tokens)
    return {
        TRAINING: make_collector(
            config, agent, engine, chat, training, config.group_size, RolloutStore(out / ROLLOUTS), hurries=True
        ),
        VALIDATION: make_collector(config, agent, engine, chat, validating, 1, RolloutStore(out / VALIDATIONS)),
    }


def make_sources(
    config: FlowGRPOConfig, chat: ChatTokens, engine: Engine, agent: Agent, *, handed: bool
) -> tuple[Mapping[str, Collector | PooledRollouts], Pool | None]:
    """What rolls out, by name, and the processes that do, if it is not this one.

    Args:
        config: the run's settings, its engine chosen.
        chat: the policy's template.
        engine: what samples.
        agent: what is run.
        handed: whether agent or engine are objects of the caller's, which the settings do not name.

    Raises:
        ConfigError: `rollout_processes` asks for what cannot be.
    """
    obstacle = _obstacle(config, agent, handed)
    if obstacle and config.rollout_processes not in ("auto", 1):
        raise ConfigError(f"rollout_processes is {config.rollout_processes}, but {obstacle}; leave it out.")
    config = _share_of(config, ranks.world_size())
    number = 1 if obstacle else processes_for(config, usable_cores() // ranks.world_size())
    if number == 1:
        return make_collectors(config, chat, engine, agent), None
    lending: LendingEngine = engine  # type: ignore[assignment]  # engines on servers lend
    pool = Pool(number, lending, partial(make_collectors, _share_of(config, number), chat))
    out = Path(config.out)
    return {
        TRAINING: PooledRollouts(
            pool, TRAINING, _settings(config, config.group_size, hurries=True), RolloutStore(out / ROLLOUTS)
        ),
        VALIDATION: PooledRollouts(
            pool, VALIDATION, _settings(config, 1, hurries=False), RolloutStore(out / VALIDATIONS)
        ),
    }, pool


def _share_of(config: FlowGRPOConfig, processes: int) -> FlowGRPOConfig:
    """The settings of each of so many processes: `concurrency` is of all together."""
    if config.concurrency is None:
        return config
    return replace(config, concurrency=max(1, config.concurrency // processes))


def processes_for(config: FlowGRPOConfig, cores: int) -> int:
    """How many processes roll out for this one: the setting, or by rollouts at once and cores (see above)."""
    if config.rollout_processes != "auto":
        return config.rollout_processes
    rollouts = config.tasks_per_step * config.group_size // ranks.world_size()
    at_once = min(rollouts, config.concurrency or rollouts)
    return max(1, min(cores // 2, config.tasks_per_step, at_once // _ROLLOUTS))


def _obstacle(config: FlowGRPOConfig, agent: Agent, handed: bool) -> str:
    """Why several processes cannot roll out; empty if they can."""
    if handed:
        return "the agent is an object, which other processes cannot import"
    if not ENGINES[config.engine].served:
        return "the policy samples in the trainer's process"
    if getattr(agent, "embeds_models", False):
        return "a frozen model is embedded, and every process would load it"
    if getattr(agent, "fixed_port", 0):
        return "agent_listen names a port, which only one process can hold"
    return ""


def _settings(config: FlowGRPOConfig, group_size: int, *, hurries: bool) -> CollectorSettings:
    return CollectorSettings(
        group_size=group_size,
        concurrency=config.concurrency,
        attempts=config.attempts,
        tail_fraction=config.tail_fraction if hurries else None,  # a validation is of all its tasks
        tail_seconds=config.tail_seconds,
    )
