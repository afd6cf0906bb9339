"""Sends the policy's weights to the vLLM servers.

An adapter travels as a folder of its own for each version, under a name of its own: vLLM keys cached keys and values
by an adapter's name and path, so an adapter that were loaded in place could meet the cache of its predecessor. Where
roles have adapters of their own, all of a version are there before any of them is asked for. All weights travel over
NCCL, through TRL's client.

Every process of the run makes each call at the same time, since all must take part in gathering sharded weights; only
the first process talks to the servers.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from graph.errors import AgentFlowError, ConfigError, DataError, ModelError, ModelUnavailable
from training.engines.vllm.server import Served, VllmServer
from training.models.adapters import SHARED, adapters_of, saved_adapters
from training.run import ranks
from training.run.checkpoints import let_others_read, why_not_written

logger = logging.getLogger(__name__)


class Delivery(Protocol):
    """Sends versions of the policy to the servers."""

    async def deliver(self, servers: Sequence[VllmServer], version: int) -> dict[str, str]:
        """Every server samples from the current weights when this returns. No turn may be in flight.

        Returns:
            The model name to ask for, by adapter; of a policy without, under `SHARED`.

        Raises:
            ConfigError: a server cannot receive weights in this way.
            ModelUnavailable: a server is unreachable.
        """

    async def again(self, server: VllmServer) -> bool:
        """Sends the current version again to a server that has lost it; False if that is impossible."""

    async def aclose(self, servers: Sequence[VllmServer]) -> None:
        """Removes everything from the servers that are reachable."""


class AdapterDelivery:
    """Hot-loads each version of the LoRA adapters.

    Args:
        model: the PEFT model that is trained, with one adapter or several.
        folder: where versions are written; trainer and servers see it under this path.
        run: names the run, so that what an interrupted process left behind is recognised.
    """

    def __init__(self, model: nn.Module, folder: Path, run: str) -> None:
        self._model = model
        self._folder = folder.absolute()
        self._run = f"agentflow-{run}-"
        self._process = uuid.uuid4().hex[:8]
        self._current: dict[str, str] = {}  # what is served, by adapter

    async def deliver(self, servers: Sequence[VllmServer], version: int) -> dict[str, str]:
        """See `Delivery`."""
        ranks.barrier()  # no process has running requests any more
        first = ranks.shared(f"{self._run}{self._process}-{version}")
        names = {each: first if each == SHARED else f"{first}-{each}" for each in adapters_of(self._model)}
        weights = gathered(self._model)
        error: AgentFlowError | None = None
        if ranks.rank() == 0:
            try:
                if not self._current:
                    await self._clear(servers)
                for adapter, name in names.items():
                    self._write(adapter, name, weights)
                    await asyncio.gather(*(server.load_adapter(name, self._folder / name) for server in servers))
                for name in set(self._current.values()) - set(names.values()):
                    await self._drop(servers, name)
            except AgentFlowError as failure:
                error = failure
        ranks.raise_together(error)
        self._current = names
        return names

    async def again(self, server: VllmServer) -> bool:
        """Loads the current version again, e.g. into a restarted server."""
        for name in self._current.values():
            await server.load_adapter(name, self._folder / name)
        if self._current:
            logger.warning("The vLLM server at %s lost its adapter (restarted?); it was loaded again.", server.shown)
        return bool(self._current)

    async def aclose(self, servers: Sequence[VllmServer]) -> None:
        """Unload the last version and remove its folders."""
        if ranks.rank() == 0:
            for name in self._current.values():
                await self._drop(servers, name)

    def _write(self, adapter: str, name: str, weights: dict[str, Tensor]) -> None:
        partial = self._folder / f"{name}.partial"
        save: Any = self._model.save_pretrained
        try:
            save(str(partial), selected_adapters=[adapter], state_dict=weights, save_embedding_layers=False)
            let_others_read(partial)
            shutil.rmtree(self._folder / name, ignore_errors=True)  # of a delivery that was cut off
            saved_adapters(partial)[adapter].replace(self._folder / name)
            shutil.rmtree(partial, ignore_errors=True)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise DataError(
                f"The adapter could not be written to {self._folder}: {why_not_written(error, self._folder)}."
            ) from error

    async def _clear(self, servers: Sequence[VllmServer]) -> None:
        """Removes what an earlier process of this run left: its versions are not needed any more."""
        for server in servers:
            left = [name for name in (await server.served()).adapters if name.startswith(self._run)]
            for name in left:
                await server.unload_adapter(name)
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path.name.startswith(self._run):
                    shutil.rmtree(path, ignore_errors=True)

    async def _drop(self, servers: Sequence[VllmServer], name: str) -> None:
        for server in servers:
            try:
                await server.unload_adapter(name)
            except ModelError as error:
                logger.debug("Adapter %s was not unloaded: %s", name, error)
        shutil.rmtree(self._folder / name, ignore_errors=True)


class WeightDelivery:
    """Sends all weights over NCCL, with TRL's client for vLLM (`trl.generation.vllm_client`).

    The servers run with `VLLM_SERVER_DEV_MODE=1` and `--weight-transfer-config '{"backend": "nccl"}'`.

    Args:
        model: in training; its parameters have the names of the model's checkpoint.
        device: GPU of the first process; default: the device of the model.
        first_port: of the connections for weights; each server has its own.
    """

    def __init__(self, model: nn.Module, device: torch.device | str | None = None, first_port: int = 51216) -> None:
        self._model = model
        self._device = device
        self._first_port = first_port
        self._clients: list[Any] | None = None
        self._base = ""

    async def deliver(self, servers: Sequence[VllmServer], version: int) -> dict[str, str]:
        """See `Delivery`. It blocks: this thread, which has the process groups, sends the weights."""
        ranks.barrier()
        error: AgentFlowError | None = None
        if ranks.rank() == 0 and self._clients is None:
            try:
                offers = await asyncio.gather(*(server.served() for server in servers))
                self._base = _one_name(servers, offers)
                self._clients = [self._connected(server, place) for place, server in enumerate(servers)]
            except AgentFlowError as failure:
                error = failure
        ranks.raise_together(error)
        for client in self._clients or [None] * len(servers):
            weights = self._weights()
            try:
                if client is not None and error is None:
                    self._send(client, weights)
            except Exception as failure:  # noqa: BLE001 - TRL's client raises bare ones, and those of requests
                error = ModelUnavailable(f"The policy's weights did not reach a vLLM server: {failure}.")
                error.__cause__ = failure
            for _ in weights:  # the rest is gathered too: the other processes wait for it
                pass
        ranks.raise_together(error)
        return {SHARED: ranks.shared(self._base)}

    async def again(self, server: VllmServer) -> bool:
        """Not possible: a server that has lost weights looks like one that has not."""
        return False

    async def aclose(self, servers: Sequence[VllmServer]) -> None:
        """Closes the connections; the servers keep the last weights."""
        for client in self._clients or ():
            client.close_communicator()
        self._clients = None

    def _connected(self, server: VllmServer, place: int) -> Any:
        from trl.generation.vllm_client import VLLMClient

        try:
            client = VLLMClient(base_url=server.root.base_url, group_port=self._first_port + place)
            client.init_communicator(device=self._device or next(self._model.parameters()).device)
        except ImportError as error:
            raise ConfigError(
                f"Training all weights with engine: vllm needs vLLM in the trainer's environment, too: {error} "
                "(`pip install vllm`)."
            ) from error
        except NotImplementedError as error:
            raise ConfigError(
                "Training all weights with engine: vllm needs GPUs connected by NCCL; on the CPU set lora_rank."
            ) from error
        except RuntimeError as error:
            raise ConfigError(f"{error}") from error
        except Exception as error:  # bare ones, and those of requests
            raise ModelUnavailable(
                f"No connection for weights to the vLLM server at {server.shown}: {error}."
            ) from error
        return client

    def _send(self, client: Any, weights: Iterator[tuple[str, Tensor]]) -> None:
        described = [
            (name, str(value.dtype).removeprefix("torch."), list(value.shape))
            for name, value in self._model.named_parameters()
        ]
        with client.weight_update():
            client.update_named_params(described, weights)
        client.reset_prefix_cache()

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in self._model.named_parameters():
            yield name, whole(value)


def whole(weight: Tensor) -> Tensor:
    """The value of a parameter, gathered if sharded (FSDP 2); every process must call it."""
    value = weight.detach()
    return value.full_tensor() if isinstance(value, DTensor) else value


def gathered(model: nn.Module) -> dict[str, Tensor]:
    """The trained weights of a model by name, on the CPU of the first process; empty in the others."""
    weights: dict[str, Tensor] = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            full = whole(value)
            if ranks.rank() == 0:
                weights[name] = full.cpu()
    return weights


def _one_name(servers: Sequence[VllmServer], offers: Sequence[Served]) -> str:
    names = {served.base for served in offers}
    if len(names) > 1:
        raise ConfigError(
            f"The vLLM servers ({', '.join(server.shown for server in servers)}) have different names for the model: "
            f"{', '.join(sorted(names))}; start them with the same --served-model-name."
        )
    return names.pop()
