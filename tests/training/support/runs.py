"""What a run leaves in its folder, in a form that two runs can be compared in."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from training.run.metrics import read_metrics

_OF_THE_MACHINE = ("time", "seconds", "tokens_per_second", "stretch", "memory/")


def figures(run: Path) -> list[dict[str, float]]:
    """The lines of a run's metrics without what depends on the clock and the machine."""
    lines = read_metrics(run / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not any(word in k for word in _OF_THE_MACHINE)} for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All that was trained; of adapters for each role, `role/name`."""
    files = list(folder.glob("*.safetensors")) or sorted(folder.glob("*/adapter_model.safetensors"))
    assert files
    found: dict[str, torch.Tensor] = {}
    for file in files:
        place = "" if file.parent == folder else f"{file.parent.name}/"
        found |= {f"{place}{name}": value for name, value in load_file(file).items()}
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=tolerance, atol=tolerance)
