"""The processes of a run: which one this is, and how the first one shares its results.

Without `accelerate launch` or `torchrun` a run has one process, and everything here is trivial.
"""

from __future__ import annotations

import gc
import os
from typing import Any, Literal, TypeVar

from graph.errors import AgentFlowError, ModelUnavailable

T = TypeVar("T")

LAUNCH_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that place a process in a launch; they are not for its children."""


def rank() -> int:
    """The number of this process; 0 speaks for all. Correct even before the processes are connected."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    return int(os.environ.get("RANK", 0)) if int(os.environ.get("WORLD_SIZE", 1)) > 1 else 0


def world_size() -> int:
    """How many processes the run was launched with."""
    return int(os.environ.get("WORLD_SIZE", 1))


def barrier() -> None:
    """Wait for all processes."""
    import torch.distributed as dist

    if _several():
        dist.barrier()


def shared(value: T | None) -> T:
    """The value of the first process, in every process."""
    import torch.distributed as dist

    values: list[Any] = [value]
    if _several():
        dist.broadcast_object_list(values, src=0)
    return values[0]  # type: ignore[no-any-return]


def raise_together(error: AgentFlowError | None) -> None:
    """Raises the error of the first process in every process, so that none waits for the others.

    Raises:
        AgentFlowError: the error of the first process; in the others a ModelUnavailable with the same message.
    """
    message = shared(str(error) if error is not None else None)
    if error is not None:
        raise error
    if message is not None:
        raise ModelUnavailable(message)


def leave() -> None:
    """Disconnects from the other processes once all have finished; nothing may refer to a trainer any more.

    Threads of gloo that outlive the interpreter can abort a process that has succeeded, and the launcher then kills
    the others while they still write. The reducer of a distributed model holds the process group as well: were it the
    last one, it would wait for a thread of gloo while it holds Python's lock, for which that thread may be waiting.
    """
    import torch.distributed as dist
    from accelerate.state import AcceleratorState  # type: ignore[import-untyped]

    gc.collect()
    barrier()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)  # so that a later training can connect again


Sharding = Literal["", "FSDP 1", "FSDP 2", "ZeRO-3"]


def sharding() -> Sharding:
    """How `accelerate launch` shards the weights; "" if each process holds all of them."""
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        return "FSDP 1" if os.environ.get("FSDP_VERSION", "1") == "1" else "FSDP 2"
    deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true"
    return "ZeRO-3" if deepspeed and os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3" else ""


def _several() -> bool:
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
