"""The vLLM server that a run starts on its own GPU: when, with how much memory, and for which roles."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph.errors import ConfigError
from training.engines.base import BASE
from training.engines.kinds import VLLM, advice, chosen
from training.engines.vllm.child import ChildServer, Launch, installed
from training.flow_grpo.config import FROZEN, FlowGRPOConfig
from training.run import ranks
from training.run.folder import SERVER_LOG

if TYPE_CHECKING:
    from training.models.flops import Shape

logger = logging.getLogger(__name__)


class OwnServer(AbstractContextManager[ChildServer | None]):
    """Starts the server and waits until it answers; yields None if the run needs none.

    The caller stops the server, unless something fails while this context is open.
    """

    def __init__(self, config: FlowGRPOConfig) -> None:
        self._config = config
        self._server: ChildServer | None = None

    def __enter__(self) -> ChildServer | None:
        if not self._config.starts_server:
            return None
        if ranks.world_size() > 1:
            raise ConfigError(
                "engine: vllm without vllm_url starts a server for a run of one process; set vllm_url, the address of "
                "a server for all of them."
            )
        self._server = ChildServer(_launch(self._config), Path(self._config.out) / SERVER_LOG)
        try:
            self._server.start()
            self._server.wait_until_ready()
        except BaseException:
            self._server.stop()
            raise
        return self._server

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None and self._server is not None:
            self._server.stop()


def with_engine(config: FlowGRPOConfig) -> FlowGRPOConfig:
    """The settings with the engine that `auto` selects on this machine; warns if vLLM would be faster.

    Raises:
        ConfigError: frozen roles use the base model, and there will be no vLLM server.
    """
    gpu, vllm = has_gpu(config), installed(config.vllm_command)
    engine = chosen(config, gpu=gpu, vllm=vllm)
    if sentence := advice(config, engine, gpu=gpu, vllm=vllm):
        logger.warning(sentence)
    if engine != VLLM and BASE in config.frozen_models:
        missing = "is not installed" if not vllm else "does not suit these settings" if gpu else "needs a GPU"
        raise ConfigError(
            f"agent_model: {BASE} asks the policy's vLLM server for its base model, and vLLM {missing}; name another "
            "model, e.g. `embedded` or MODEL@http://host:port/v1."
        )
    return replace(config, engine=engine)


def with_base(config: FlowGRPOConfig, server: ChildServer | None) -> FlowGRPOConfig:
    """The settings with `base` replaced by the model spec of the policy's server.

    Raises:
        ConfigError, ModelUnavailable: a server of `vllm_url` does not tell its model's name; a wrong address is told
            here, before the policy is loaded.
    """
    spec = server.base_spec if server is not None else _spec_at(config) if config.vllm_url else None
    if BASE not in config.frozen_models:
        return config
    resolved: dict[str, Any] = {name: spec for name in FROZEN if getattr(config, name) == BASE}
    if config.agent_models:
        resolved["agent_models"] = {
            role: spec if model == BASE else model for role, model in config.agent_models.items()
        }
    return replace(config, **resolved)


def has_gpu(config: FlowGRPOConfig) -> bool:
    """Whether the policy will be on a GPU."""
    from training.models.device import device_of

    return device_of(config.device).type == "cuda"


def _spec_at(config: FlowGRPOConfig) -> str:
    """The base model of the first server of `vllm_url`, as a model spec; all of them are asked."""
    import asyncio

    from graph.models.server import Endpoint
    from training.engines.vllm.engine import api_key, server_urls
    from training.engines.vllm.server import VllmServer

    async def bases() -> list[str]:
        return [(await VllmServer(Endpoint(url, api_key())).served()).base for url in urls]

    urls = server_urls(config.vllm_url or "")
    return f"vllm:{asyncio.run(bases())[0]}@{urls[0]}"


def _launch(config: FlowGRPOConfig) -> Launch:
    from training.flow_grpo.memory import open_runs
    from training.models.policy import hub_folder

    share, sleeps = _share(config)
    return Launch(
        model=hub_folder(config.model, config.dtype),
        dtype=config.dtype,
        max_context=config.max_context,
        lora_rank=config.lora_rank,
        adapters=len(config.adapters) or 1,
        # A validation may be larger than a step. Above a thousand, vLLM would want larger batches of tokens, too.
        sequences=min(max(Launch.sequences, open_runs(config)), 1024),
        memory_share=share,
        sleeps=sleeps,
        command=config.vllm_command,
        options=config.vllm_options,
    )


def shape_before_loading(config: FlowGRPOConfig) -> Shape:
    """The shape of a policy that is not loaded yet.

    Raises:
        ConfigError: there is no such model, or it is no dense decoder.
    """
    from training.models.flops import shape_of
    from training.models.policy import hub_folder
    from training.models.shapes import config_of

    return shape_of(config_of(hub_folder(config.model, config.dtype)))


def _share(config: FlowGRPOConfig) -> tuple[float | None, bool]:
    """The planned share of the GPU for the server, and whether it sleeps during updates."""
    if not has_gpu(config):
        return None, False
    import torch

    from training.flow_grpo.lengths import usual_lengths
    from training.flow_grpo.memory import shared_memory, trainer_memory

    shape = shape_before_loading(config)
    free, total = torch.cuda.mem_get_info()
    transcript = usual_lengths(config).transcript
    share, served = shared_memory(shape, config, trainer_memory(shape, config), float(free), transcript)
    if not served.fits:
        logger.warning(
            "According to the plan, the policy, its update and a vLLM server do not fit into the %.0f GB free on this "
            "GPU; `python -m training.plan --gpus 1` with these settings says what to change.", free / 1e9,
        )  # fmt: skip
    return share.of(total), share.sleeps
