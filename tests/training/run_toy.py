"""The toy run as a process of its own, which can be told to kill itself."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.training.toy import toy_config
from training import checkpoints, transformers_engine
from training.flow_grpo import ConsoleProgress, train
from training.records import Rollout


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

    def rolled_out(self, rollout: Rollout) -> None:
        self.done += 1
        if self.phase == "rolling out" and self.step == 1 and self.done == 5:
            die()

    def updating(self, batches: int) -> None:
        if self.phase == "updating" and self.step == 1:
            die()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--phase", default="")
    options = parser.parse_args()
    Deadly.phase = options.phase
    import training.flow_grpo as command

    command.ConsoleProgress = Deadly  # type: ignore[misc]
    if options.phase == "checkpointing":
        publish = checkpoints.publish

        def half(staged: Path, run: Path, update: int, **keep: Any) -> Path:
            if update == 2:
                next(staged.glob("*.safetensors")).write_bytes(b"torn")
                die()
            return publish(staged, run, update, **keep)

        checkpoints.publish = half
    if options.phase == "syncing":
        sync = transformers_engine.TransformersEngine.sync

        async def dying(self: Any, version: int) -> None:
            if version == 2:
                die()
            await sync(self, version)

        transformers_engine.TransformersEngine.sync = dying  # type: ignore[method-assign]
    train(toy_config(options.folder, options.model, **options.settings))


if __name__ == "__main__":
    sys.exit(main())
