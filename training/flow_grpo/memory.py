"""Memory of a run on each GPU, in bytes."""

from __future__ import annotations

from dataclasses import dataclass

from training.engines.kinds import ENGINES
from training.engines.vllm.card import ASLEEP, USABLE, CardShare, Needs, share_card
from training.flow_grpo.config import FlowGRPOConfig
from training.models.flops import Shape

_FLOAT = 4
_LOGITS = 2**24
"""Logits that exist at one time (`update.logprobs.CHUNK_LOGITS`); three times as many in the backward pass."""

_ALLOCATED = 1.1
"""What is allocated over the sum of the activations: 7B with 5,000 tokens took 47.3 GiB in all, where the sum is 44.
With fused kernels it took 35.8 where the sum is 37.1, and with 9,300 tokens 54.1 where it is 56.4."""

_SERVED = 0.9
"""Share of GPU memory that a vLLM server takes by default."""


@dataclass(frozen=True)
class TrainerMemory:
    """Memory of a training GPU."""

    weights: float
    """Of the policy."""
    reference: float
    """A frozen copy; none with an adapter, since the policy without it is the reference."""
    sampler_copy: float
    """Of the in-process engine: a copy of the adapter, and with `overlap` of all trained weights."""
    gradients: float
    optimizer: float
    activations: float
    """Of one micro-batch."""
    logits: float
    kv_cache: float
    """Of the in-process engine, between turns and during sampling; none with servers."""

    @property
    def resident(self) -> float:
        """Memory that is held between updates."""
        return self.weights + self.reference + self.sampler_copy + self.gradients + self.optimizer + self.kv_cache

    @property
    def total(self) -> float:
        """The sum: sampling and updates alternate, but allocators keep their memory."""
        return float(sum(vars(self).values()))


@dataclass(frozen=True)
class ServerMemory:
    """Memory of a GPU that serves the policy with vLLM."""

    weights: float
    kv_cache: float
    """The rest of the share that vLLM takes."""
    kv_tokens: float
    """Tokens that fit into the cache."""
    wanted_tokens: float
    """Tokens of all transcripts that are open at the same time."""
    shares_gpu: bool = False
    """Whether the trainer uses the same GPU."""
    sleeps: bool = False
    """Whether it releases its memory during updates."""
    fits: bool = True


def trainer_memory(
    shape: Shape, config: FlowGRPOConfig, *, sharded_over: int = 1, fused: bool | None = None
) -> TrainerMemory:
    """The memory of a training GPU.

    Activations are an estimate of what autograd keeps of a layer.

    Args:
        shape: the model.
        config: the run.
        sharded_over: number of GPUs over which weights, gradients and optimizer are sharded (FSDP, ZeRO-3).
        fused: whether the GPU's kernels are fused; None: as they are on this machine.
    """
    served = ENGINES[config.engine].served
    size = 2 if config.dtype == "bfloat16" else _FLOAT
    adapter = _adapter_weights(shape, config)
    trained, trained_size = (adapter, _FLOAT) if adapter else (shape.weights, size)
    weights = shape.weights * size + adapter * _FLOAT
    copied = 0 if served else adapter * size or (trained * trained_size if config.overlap else 0)
    return TrainerMemory(
        weights=weights / sharded_over,
        reference=shape.weights * size / sharded_over if config.beta and not adapter else 0.0,
        sampler_copy=float(copied),
        gradients=trained * trained_size / sharded_over,
        optimizer=2 * trained * trained_size / sharded_over,
        activations=_activations(shape, config, size, _fuses(config) if fused is None else fused),
        logits=4.0 * _LOGITS * _FLOAT,
        kv_cache=float(_kv_tokens(config) * shape.kv_values * size) if not served else 0.0,
    )


def server_memory(
    shape: Shape, config: FlowGRPOConfig, memory: float, *, servers: int, transcript: float
) -> ServerMemory:
    """The memory of a serving GPU with a copy of the policy.

    Args:
        shape: the model.
        config: the run.
        memory: bytes of the GPU.
        servers: number of serving GPUs, which share the runs.
        transcript: tokens of a whole rollout.
    """
    weights = _served_weights(shape, config)
    cache = max(0.0, _SERVED * memory - weights)
    token = _cached_token(shape, config)
    return ServerMemory(
        weights=weights,
        kv_cache=cache,
        kv_tokens=cache / token,
        wanted_tokens=open_runs(config) / servers * transcript,
        fits=cache >= config.max_context * token,
    )


def shared_memory(
    shape: Shape, config: FlowGRPOConfig, trainer: TrainerMemory, memory: float, transcript: float
) -> tuple[CardShare, ServerMemory]:
    """How a run and its own server share a GPU; see `training.engines.vllm.card`.

    Args:
        shape: the model.
        config: the run.
        trainer: its memory without the server.
        memory: bytes of the GPU.
        transcript: tokens of a whole rollout.
    """
    token = _cached_token(shape, config)
    tokens = open_runs(config) * transcript
    needs = Needs(
        resident=trainer.resident,
        updating=trainer.total,
        weights=_served_weights(shape, config),
        least_cache=token * max(config.max_context, tokens / 4),
        wanted_cache=token * tokens,
    )
    share = share_card(needs, memory, overlap=config.overlap)
    served = ServerMemory(
        weights=needs.weights,
        kv_cache=share.kv_cache,
        kv_tokens=share.kv_cache / token,
        wanted_tokens=tokens,
        shares_gpu=True,
        sleeps=share.sleeps,
        fits=share.fits and trainer.total + (ASLEEP if share.sleeps else share.server) <= USABLE * memory,
    )
    return share, served


def _adapter_weights(shape: Shape, config: FlowGRPOConfig) -> int:
    """Of all roles together."""
    return max(1, len(config.adapters)) * shape.adapter_weights(config.lora_rank) if config.lora_rank else 0


def _served_weights(shape: Shape, config: FlowGRPOConfig) -> float:
    """Of a server: the model, and its adapters twice while one version follows the other."""
    size = 2 if config.dtype == "bfloat16" else _FLOAT
    return float(size * (shape.weights + 2 * _adapter_weights(shape, config)))


def _cached_token(shape: Shape, config: FlowGRPOConfig) -> float:
    return float(shape.kv_values * (2 if config.dtype == "bfloat16" else _FLOAT))


def open_runs(config: FlowGRPOConfig) -> int:
    """Rollouts of a step that are made at the same time."""
    runs = config.tasks_per_step * config.group_size
    return min(config.concurrency or runs, runs)


def _fuses(config: FlowGRPOConfig) -> bool:
    """Whether a run on this machine has fused kernels."""
    from training.models.device import device_of
    from training.models.kernels import can_fuse

    return can_fuse() and device_of(config.device).type == "cuda"


def _activations(shape: Shape, config: FlowGRPOConfig, size: int, fused: bool) -> float:
    """Bytes that one micro-batch keeps for its backward pass."""
    query, kv = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    # With fused kernels the gated activation keeps nothing between its two products, and norms keep no float32.
    layer = size * (4 * shape.hidden + 3 * query + 2 * kv + (3 if fused else 4) * shape.intermediate)
    if size < _FLOAT and not fused:
        layer += _FLOAT * shape.hidden
    if config.recomputes:  # each layer's input and attention output, and all of the one that is computed again
        kept = shape.layers * size * (shape.hidden + query) + 1.5 * layer
    else:
        kept = _ALLOCATED * (shape.layers + 1) * layer
    return config.budget * kept


def _kv_tokens(config: FlowGRPOConfig) -> int:
    """Largest number of tokens in the KV cache of the in-process engine."""
    runs = config.tasks_per_step * config.group_size
    return config.memory_tokens + min(config.max_batch, runs) * config.max_context
