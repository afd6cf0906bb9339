"""The device that models are on: the GPU that is there, unless the settings say otherwise."""

from __future__ import annotations

from typing import Literal

import torch

from graph.errors import ConfigError

Device = Literal["auto", "cpu", "cuda"]
"""The setting `device`."""


def device_of(choice: str) -> torch.device:
    """The device of this process.

    Args:
        choice: see `Device`.

    Raises:
        ConfigError: a GPU is asked for, and there is none.
    """
    there = torch.cuda.is_available()
    if choice == "cuda" and not there:
        raise ConfigError("device is cuda, but torch finds no GPU; set device: cpu, or install torch for CUDA.")
    return torch.device("cuda" if there and choice != "cpu" else "cpu")
