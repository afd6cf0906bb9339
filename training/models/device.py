"""The device that models are on: the GPU that is there, unless the settings say otherwise. Its memory."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from evals.speed.memory import peak_resident_bytes
from graph.errors import ConfigError

_CONTROL_GROUP = Path("/sys/fs/cgroup")


def device_of(choice: str) -> torch.device:
    """The device of this process.

    Args:
        choice: the setting `device`.

    Raises:
        ConfigError: a GPU is asked for, and there is none.
    """
    there = torch.cuda.is_available()
    if choice == "cuda" and not there:
        raise ConfigError("device is cuda, but torch finds no GPU; set device: cpu, or install torch for CUDA.")
    return torch.device("cuda" if there and choice != "cpu" else "cpu")


def name_of(device: torch.device) -> str:
    """A GPU's name, or `CPU`."""
    return torch.cuda.get_device_name(_index(device)) if device.type == "cuda" else "CPU"


def memory_of(device: torch.device) -> tuple[int, int]:
    """Free and total bytes of a device, for one of the processes that share it: a GPU each, or a part of the CPU's."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(_index(device))
        return free, total
    import psutil  # type: ignore[import-untyped]

    memory = psutil.virtual_memory()
    free, total = int(memory.available), int(memory.total)
    if (limit := _container_limit(_CONTROL_GROUP)) is not None:
        free, total = min(free, limit[0]), min(total, limit[1])
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return free // processes, total // processes


def current(device: torch.device) -> AbstractContextManager[object]:
    """Inside, a GPU is the current one of this thread, which kernels that are not torch's own run on.

    A thread begins with the first GPU, whichever its process has chosen.
    """
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def peak_memory(device: str) -> int:
    """Peak memory of this process in bytes: resident memory, or what was allocated on its GPU."""
    return int(torch.cuda.max_memory_allocated()) if device == "cuda" else peak_resident_bytes()


def _index(device: torch.device) -> int:
    """The GPU of this process, also before the processes of a run are connected."""
    return int(os.environ.get("LOCAL_RANK", 0)) if device.index is None else device.index


def _container_limit(folder: Path) -> tuple[int, int] | None:
    """Free and total bytes by the memory limit of a container (cgroup v2); None if there is none."""
    try:
        total = int((folder / "memory.max").read_text())  # "max" without a limit
        used = int((folder / "memory.current").read_text())
        cached = next(
            int(line.split()[1])
            for line in (folder / "memory.stat").read_text().splitlines()
            if line.startswith("inactive_file ")
        )
    except (OSError, ValueError, StopIteration):
        return None
    return max(0, total - used + cached), total
