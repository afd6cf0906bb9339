"""The engines by name: properties and construction. Settings, plan, launcher checks and build read them here.

To add an engine, implement `training.engines.base.Engine` and add an entry to `ENGINES`. Declare its own settings in
`training.flow_grpo.config` and in `EngineSettings`, and name them in the entry. Nothing heavy is imported here.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from graph.errors import ConfigError
from training.engines.base import Engine, Score
from training.run import ranks
from training.run.folder import ADAPTERS

if TYPE_CHECKING:
    from torch import nn

    from training.engines.vllm.child import ChildServer


class EngineSettings(Protocol):
    """The settings that engines read (`training.flow_grpo.config.FlowGRPOConfig`)."""

    @property
    def model(self) -> str: ...
    @property
    def out(self) -> str: ...
    @property
    def lora_rank(self) -> int: ...
    @property
    def temperature(self) -> float: ...
    @property
    def max_context(self) -> int: ...
    @property
    def max_batch(self) -> int: ...
    @property
    def memory_tokens(self) -> int: ...
    @property
    def deterministic(self) -> bool: ...
    @property
    def overlap(self) -> bool: ...
    @property
    def vllm_url(self) -> str | None: ...
    @property
    def vllm_command(self) -> str: ...
    @property
    def vllm_options(self) -> str: ...
    @property
    def replay(self) -> str | None: ...
    @property
    def engine(self) -> str: ...
    @property
    def vllm_adapters(self) -> str | None: ...


@dataclass(frozen=True)
class PolicyModel:
    """The policy, as an engine receives it from the trainer."""

    model: nn.Module
    """The model, PEFT-wrapped or not; the trainer updates it in place."""
    end_ids: frozenset[int]
    """Tokens that end a completion."""
    prompt: Sequence[int]
    """Any short prompt, to check a server with."""
    score: Score
    server: ChildServer | None = None
    """The run's own server, if it has one; it stops with the engine."""


@dataclass(frozen=True)
class EngineKind:
    """Properties of an engine."""

    make: Callable[[EngineSettings, PolicyModel], Engine]
    served: bool = False
    """Whether it samples on servers that receive the weights: on their own GPUs, or one that the run starts on its own
    GPU. Otherwise it samples in each training process, from the trainer's weights."""
    reproducible: bool = False
    """Whether it supports `deterministic`."""
    settings: tuple[str, ...] = ()
    """Settings of this engine only."""


def _in_process(settings: EngineSettings, policy: PolicyModel) -> Engine:
    from training.engines.in_process import TransformersEngine

    return TransformersEngine(
        policy.model,
        policy.end_ids,
        max_context=settings.max_context,
        max_batch=settings.max_batch,
        memory_tokens=settings.memory_tokens,
        deterministic=settings.deterministic,
        apart=settings.overlap,
        at_end=policy.server.stop if policy.server else None,
    )


def _vllm(settings: EngineSettings, policy: PolicyModel) -> Engine:
    from training.engines.vllm.delivery import AdapterDelivery, Delivery, WeightDelivery
    from training.engines.vllm.engine import VllmEngine, api_key, server_urls
    from training.engines.vllm.probe import Probe

    out = Path(settings.out)
    folder = Path(settings.vllm_adapters or out / ADAPTERS)
    run = hashlib.sha256(f"{platform.node()}:{out.absolute()}".encode()).hexdigest()[:8]
    delivery: Delivery = (
        AdapterDelivery(policy.model, folder, run) if settings.lora_rank else WeightDelivery(policy.model)
    )
    return VllmEngine(
        [policy.server.url] if policy.server else server_urls(settings.vllm_url or ""),
        delivery,
        policy.end_ids,
        max_context=settings.max_context,
        probe=Probe(settings.model, policy.prompt, settings.temperature, policy.score),
        api_key=api_key(),
        child=policy.server,
    )


IN_PROCESS, VLLM = "transformers", "vllm"

ENGINES: Mapping[str, EngineKind] = {
    IN_PROCESS: EngineKind(_in_process, reproducible=True),
    VLLM: EngineKind(_vllm, served=True, settings=("vllm_url", "vllm_adapters")),
}

AUTO = "auto"
"""vLLM if there is a server or one can be started, else in-process."""


def chosen(settings: EngineSettings, *, gpu: bool, vllm: bool) -> str:
    """The engine of a run: a key of `ENGINES`.

    Args:
        settings: of the run; an engine that they name is not questioned.
        gpu: whether there is a GPU.
        vllm: whether vLLM is installed.
    """
    if settings.engine != AUTO:
        return settings.engine
    if settings.vllm_url:
        return VLLM
    return VLLM if gpu and vllm and _suits_own_server(settings) else IN_PROCESS


def advice(settings: EngineSettings, engine: str, *, gpu: bool, vllm: bool) -> str | None:
    """A sentence, if another engine would be many times as fast."""
    if not gpu or engine != IN_PROCESS or not _suits_own_server(settings):
        return None
    if not vllm:
        return (
            "vLLM is not installed, so this process samples. On a GPU, vLLM is many times as fast: `pip install vllm`, "
            "or set vllm_command to its program."
        )
    return "On a GPU, vLLM samples many times as fast as this process; leave out the setting `engine`."


def _suits_own_server(settings: EngineSettings) -> bool:
    """Whether the run could start its own server: it makes rollouts, trains an adapter, and has one process."""
    return not (settings.deterministic or settings.replay) and settings.lora_rank > 0 and ranks.world_size() == 1


def refuse_unsuited_sharding(engine: str) -> None:
    """Refuses sharding (`accelerate launch`) that leaves the engine no policy to sample from or to send.

    Args:
        engine: a key of `ENGINES`.

    Raises:
        ConfigError: the engine cannot work with sharded weights of this kind.
    """
    sharding = ranks.sharding()
    if sharding and not ENGINES[engine].served:
        served = " or ".join(name for name, kind in ENGINES.items() if kind.served)
        raise ConfigError(
            f"{sharding} shards the weights, so no process holds a policy to sample from; set engine: {served}, or "
            "launch without sharding."
        )
    if sharding == "ZeRO-3":
        raise ConfigError(f"Weights that ZeRO-3 shards cannot be sent to {engine}; use zero_stage 2, or FSDP.")
    if sharding == "FSDP 1":
        raise ConfigError(f"Packed training and {engine} need FSDP 2; set fsdp_version: 2.")
