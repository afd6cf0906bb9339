"""The toy run as a process of its own, which can be told to kill itself."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from tests.training.support.toy import toy_config
from training.engines import in_process as transformers_engine
from training.flow_grpo.launch import train
from training.flow_grpo.progress import ConsoleProgress
from training.flow_grpo.trainer import FlowGRPOTrainer
from training.rollouts.records import Rollout
from training.run import checkpoints, metrics

torch.set_num_threads(1)  # as in the tests: with another number sums round differently

PHASES = {
    "rolling out": 1, "updating": 1, "logging": 1, "validating": 1, "checkpointing": 1, "checkpointed": 2, "syncing": 1,
    "finishing": 3,
}  # fmt: skip
"""Where the run can be killed, each in its second step (the last in its third), and how many checkpoints are left."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly(ConsoleProgress):
    """Kills the process in the second step, at the phase that is named."""

    phase = ""
    step = -1
    done = 0

    def rolling_out(self, step: int, total: int) -> None:
        self.step, self.done = step, 0
        super().rolling_out(step, total)

    def validating(self, update: int, total: int) -> None:
        self.step, self.done = update, 0
        super().validating(update, total)

    def rolled_out(self, rollout: Rollout) -> None:
        self.done += 1
        if self.phase == "rolling out" and self.step == 1 and self.done == 5:
            die()
        if self.phase == "validating" and self.step == 2 and self.done == 2:
            die()

    def updating(self, batches: int) -> None:
        if self.phase == "updating" and self.step == 1:
            die()


def lay_traps(phase: str) -> None:
    """Makes the places that `Deadly` is not told of deadly."""
    publish, append = checkpoints.publish, metrics.MetricsFile.append
    sync, save = transformers_engine.TransformersEngine.sync, FlowGRPOTrainer.save_model

    def publishing(staged: Path, run: Path, update: int, **keep: Any) -> Path:
        if phase == "checkpointing" and update == 2:
            next(staged.glob("*.safetensors")).write_bytes(b"torn")
            die()
        made = publish(staged, run, update, **keep)
        if phase == "checkpointed" and update == 2:
            die()
        return made

    async def syncing(self: Any, version: int) -> None:
        if phase == "syncing" and version == 1:
            die()
        await sync(self, version)

    def appending(self: metrics.MetricsFile, record: Any) -> None:
        if phase == "logging" and record["update"] == 2:
            with self.path.open("a") as file:
                file.write(json.dumps(record)[:40])
            die()
        append(self, record)

    def saving(self: FlowGRPOTrainer, place: str | None = None, **more: Any) -> None:
        if phase == "finishing" and place and place.endswith("final"):
            Path(place).mkdir()
            (Path(place) / "config.json").write_text("{")
            die()
        save(self, place, **more)

    checkpoints.publish = publishing
    metrics.MetricsFile.append = appending  # type: ignore[method-assign]
    transformers_engine.TransformersEngine.sync = syncing  # type: ignore[method-assign]
    FlowGRPOTrainer.save_model = saving  # type: ignore[method-assign]


def run(folder: Path, model: Path, phase: str, settings: dict[str, Any]) -> None:
    """Train, or be killed on the way."""
    if phase:
        assert phase in PHASES
        lay_traps(phase)
    Deadly.phase = phase
    config = toy_config(folder, model, **settings)
    train(config, progress=Deadly(config))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--settings", type=json.loads, default={})
    options = parser.parse_args()
    run(options.folder, options.model, "", options.settings)
    assert not torch.distributed.is_initialized()  # its threads would outlive the interpreter, and abort it at times


if __name__ == "__main__":
    sys.exit(main())
