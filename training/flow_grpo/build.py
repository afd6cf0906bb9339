"""Builds a trainer from settings: model, engine, agent, reward and tasks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.benchmarks.loading import sample
from evals.task import Task
from graph.errors import ConfigError
from tools.counts import many
from training.engines.base import BASE, Engine, Sampling
from training.engines.kinds import ENGINES, IN_PROCESS, EngineKind, PolicyModel, refuse_unsuited_sharding
from training.flow_grpo.agent import load_agent
from training.flow_grpo.collectors import TRAINING, VALIDATION, make_collector, make_sources
from training.flow_grpo.config import FlowGRPOConfig
from training.flow_grpo.micro_batches import Room, room_of, settled
from training.flow_grpo.own_server import OwnServer, shape_before_loading, with_base, with_engine
from training.rollouts.agents import Agent
from training.rollouts.archive import RolloutArchive
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.collector import Collector
from training.rollouts.schedule import SCHEDULES
from training.rollouts.store import RolloutStore
from training.rollouts.tasks import load_tasks
from training.run.checkpoints import weights_of
from training.run.folder import ROLLOUTS

if TYPE_CHECKING:
    from torch import nn

    from training.engines.vllm.child import ChildServer
    from training.flow_grpo.progress import Progress
    from training.flow_grpo.trainer import FlowGRPOTrainer


def make_trainer(
    config: FlowGRPOConfig,
    *,
    progress: Progress | None = None,
    engine: Engine | None = None,
    agent: Agent | None = None,
) -> FlowGRPOTrainer:
    """Builds the trainer of a run.

    Args:
        config: settings of the run.
        progress: receives the progress of the run.
        engine: replaces the engine of the settings.
        agent: replaces the agent of the settings.

    Raises:
        ConfigError, DataError: a setting names something that is not available.
    """
    _refuse_unknown(config)
    _start(config)  # a mistake in it is told before anything is loaded
    room = room_of(config)
    if engine is not None:
        return _trainer(config, room, progress, agent, engine)
    config = with_engine(config)
    refuse_unsuited_sharding(config.engine)
    _tasks(config)  # a mistake in them is told before a server is started
    if room.gpu and config.starts_server:  # its share of the GPU depends on what an update takes
        config = settled(config, shape_before_loading(config), room)
    with OwnServer(config) as server:
        return _trainer(with_base(config, server), room, progress, agent, server=server)


def _trainer(
    config: FlowGRPOConfig,
    room: Room,
    progress: Progress | None,
    agent: Agent | None,
    engine: Engine | None = None,
    server: ChildServer | None = None,
) -> FlowGRPOTrainer:
    tasks, held_out = _tasks(config)
    archive = _archive(config)
    handed = agent is not None or engine is not None
    agent = agent or load_agent(config, asks=archive is None or bool(held_out))
    from training.flow_grpo.steps import Parts
    from training.flow_grpo.trainer import FlowGRPOTrainer
    from training.models.adapters import SHARED
    from training.models.policy import load_policy, load_trained, start_from, with_adapter

    start = _start(config)
    whole = start if not config.lora_rank else None
    base: Any
    base, tokenizer = load_trained(config.model, whole, config.dtype)
    chat = ChatTokens(tokenizer, end_ids_of(base))
    model: nn.Module = base
    reference: nn.Module | None = None
    if config.lora_rank:
        model = with_adapter(
            base,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            targets=config.lora_targets,
            seed=config.seed,
            names=config.adapters or (SHARED,),
        )
        if start:
            start_from(model, start, config.model, config.lora_targets)
    elif config.beta:
        reference, _ = load_policy(config.model, config.dtype)
    engine = engine or engine_for(ENGINES[config.engine], config, model, chat, server)
    out = Path(config.out)
    if archive is not None:
        archive.refuse_other_tokens(base.config.get_text_config().vocab_size)  # the tokenizer may have fewer
    schedule = archive or SCHEDULES[config.schedule](tasks, config.tasks_per_step, config.seed, config.steps)
    sources, pool = make_sources(config, chat, engine, agent, handed=handed)
    parts = Parts(
        engine=engine,
        source=archive or sources[TRAINING],
        schedule=schedule,
        store=RolloutStore(out / ROLLOUTS),
        validator=sources[VALIDATION],
        pool=pool,
        validation=held_out,
        tasks=len(tasks),
        reference=reference,
        progress=progress,
        room=room,
    )
    return FlowGRPOTrainer(model, config, parts, tokenizer)


def _start(config: FlowGRPOConfig) -> Path | None:
    """The folder of the weights to start from, if the run starts from trained ones."""
    from training.models.adapters import SHARED, saved_adapters, starting_adapters

    start = weights_of(Path(config.warm_start)) if config.warm_start else None
    if start and not config.lora_rank and saved_adapters(start):
        raise ConfigError(
            f"warm_start: {start} holds an adapter, and lora_rank 0 trains all weights; set the adapter's lora_rank, "
            "or merge it (`python -m training.export RUN --out FOLDER`) and start from that folder."
        )
    if start and config.lora_rank:
        wanted = dict.fromkeys(config.adapters or (SHARED,), (config.lora_rank, config.lora_alpha))
        starting_adapters(start, wanted, config.lora_targets)
    return start


def make_validator(
    config: FlowGRPOConfig, weights: Path | None, *, samples: int = 1
) -> tuple[Collector, Engine, RolloutStore, list[Task]]:
    """The parts of a measurement on held-out tasks: a collector, its engine, a store for rollouts, and the tasks.

    It samples in this process, whatever engine the settings name.

    Args:
        config: the settings; rollouts go to its `out`.
        weights: folder of trained weights; None measures the untrained policy.
        samples: runs of each task.

    Raises:
        ConfigError, DataError: a setting names something that is not available.
    """
    if config.validation is None:
        raise ConfigError("The setting `validation` is missing: held-out tasks to measure the policy on.")
    tasks = sample(load_tasks(config.validation), config.validation_limit, config.seed)
    if BASE in config.frozen_models:
        config = with_engine(config)
        with OwnServer(config) as server:
            return _validator(with_base(config, server), weights, tasks, samples, server)
    return _validator(config, weights, tasks, samples)


def _validator(
    config: FlowGRPOConfig, weights: Path | None, tasks: list[Task], samples: int, server: ChildServer | None = None
) -> tuple[Collector, Engine, RolloutStore, list[Task]]:
    agent = load_agent(config, asks=True)
    from training.models.device import device_of
    from training.models.policy import load_trained, quiet
    from training.update.logprobs import attach_scoring

    quiet()
    model, tokenizer = load_trained(config.model, weights, config.dtype)
    model.to(device_of(config.device))
    attach_scoring(model)  # the attention that sampled in training
    chat = ChatTokens(tokenizer, end_ids_of(model))
    engine = engine_for(ENGINES[IN_PROCESS], config, model, chat, server)
    store = RolloutStore(Path(config.out) / ROLLOUTS)
    sampling = Sampling(config.validation_temperature, config.max_tokens)
    return make_collector(config, agent, engine, chat, sampling, samples, store), engine, store, tasks


def _tasks(config: FlowGRPOConfig) -> tuple[list[Task], list[Task]]:
    """Training tasks and held-out tasks."""
    tasks = load_tasks(config.tasks)
    held_out = sample(load_tasks(config.validation), config.validation_limit, config.seed) if config.validation else []
    _refuse_overlap(tasks, held_out, config)
    return tasks, held_out


def _refuse_unknown(config: FlowGRPOConfig) -> None:
    """Checks names from transformers before anything is loaded."""
    from transformers import SchedulerType
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    schedules = [item.value for item in SchedulerType]
    if config.lr_scheduler not in schedules:
        raise ConfigError(f"There is no lr_scheduler {config.lr_scheduler!r}; choose one of {', '.join(schedules)}.")
    installed = get_available_reporting_integrations()  # type: ignore[no-untyped-call]
    for name in config.report_to:
        if name not in INTEGRATION_TO_CALLBACK:
            trackers = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise ConfigError(f"report_to names {name!r}, which is not known; choose from {trackers}.")
        if name not in installed:
            raise ConfigError(f"report_to names {name!r}, whose package is not installed; run `pip install {name}`.")


def _archive(config: FlowGRPOConfig) -> RolloutArchive | None:
    if config.replay is None:
        return None
    archive = RolloutArchive(Path(config.replay))
    if archive.steps < config.steps:
        raise ConfigError(
            f"{config.replay} holds {many(archive.steps, 'step')} of rollouts, not {config.steps}; set steps."
        )
    return archive


def engine_for(
    kind: EngineKind, config: FlowGRPOConfig, model: nn.Module, chat: ChatTokens, server: ChildServer | None = None
) -> Engine:
    """The engine of a run.

    Args:
        kind: which.
        config: the settings.
        model: the policy, on its device or about to be moved there.
        chat: its chat template and end tokens.
        server: the run's own server, if it has started one.
    """
    from training.update.logprobs import completion_logprobs

    prompt = chat.opening([("system", "Answer briefly."), ("user", "Which river flows through Vienna?")])
    return kind.make(config, PolicyModel(model, chat.end_ids, prompt, partial(completion_logprobs, model), server))


def end_ids_of(model: Any) -> Sequence[int]:
    """The end-of-reply ids in the model's generation settings."""
    ids = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return () if ids is None else (ids,) if isinstance(ids, int) else tuple(ids)


def _refuse_overlap(tasks: Sequence[Any], held_out: Sequence[Any], config: FlowGRPOConfig) -> None:
    """Refuses training tasks that are also held out: the validation would be worthless."""
    trained = {task.prompt for task in tasks}
    shared = [task.prompt for task in held_out if task.prompt in trained]
    if shared:
        raise ConfigError(
            f"{config.tasks} also has {len(shared)} of the {many(len(held_out), 'held-out task')} of "
            f"{config.validation}, e.g. {min(shared)[:80]!r}; keep them apart."
        )
