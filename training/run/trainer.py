"""Atomic checkpoints and `metrics.jsonl` for any trainer that descends from transformers' `Trainer`.

transformers writes a checkpoint file by file into the run's folder. Here it writes into a staging folder, which becomes
the checkpoint when all of it is on the disk (`training.run.checkpoints`); an interrupted or failed save leaves the
earlier checkpoints as they were.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]
from safetensors import SafetensorError
from transformers import PrinterCallback, Trainer

from graph.errors import DataError
from training.run import checkpoints
from training.run.metrics import MetricsFile


class WholeCheckpoints(Trainer):
    """Put before a trainer class among its subclass's bases: `class Mine(WholeCheckpoints, SFTTrainer)`.

    Args:
        run_folder: where checkpoints and metrics go.
        keep: newest checkpoints that stay.
        options: what the trainer itself takes.
    """

    def __init__(self, *, run_folder: Path, keep: int, **options: Any) -> None:
        self.run_folder = run_folder
        self.metrics_file = MetricsFile(run_folder / "metrics.jsonl")
        self._keep = keep
        self._staged: Path | None = None
        super().__init__(**options)
        self.remove_callback(PrinterCallback)  # `metrics.jsonl` holds the figures

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Writes the figures of an update to `metrics.jsonl`, too."""
        if "train_runtime" in logs:  # the Trainer's own summary of this process
            return
        super().log(logs, start_time)
        if self.is_world_process_zero():
            self.metrics_file.append({"update": self.state.global_step, "time": time.time(), **logs})

    def train_from_last_checkpoint(self) -> None:
        """Trains to the end, from the newest whole checkpoint if there is one.

        Raises:
            AgentFlowError: what ended the run, in one sentence.
        """
        newest = checkpoints.newest(self.run_folder)
        if self.is_world_process_zero():
            self.discard_after(checkpoints.update_of(newest) if newest else -1)
        self.accelerator.wait_for_everyone()
        self.train(resume_from_checkpoint=str(newest) if newest else None)

    def discard_after(self, update: int) -> None:
        """Drops what was written after an update's checkpoint: it will be written again. -1 drops all."""
        self.metrics_file.discard_after(update)

    def save_final(self, name: str = "final") -> Path:
        """Puts the trained model into the run's folder, atomically.

        Raises:
            DataError: it could not be written.
        """
        with self._staging("The trained model"):
            assert self._staged is not None
            self.save_model(str(self._staged / name))
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                checkpoints.put(self._staged / name, self.run_folder / name)
        self.accelerator.wait_for_everyone()
        return self.run_folder / name

    def _get_output_dir(self, trial: object) -> str:
        return str(self._staged or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: object) -> None:
        update = self.state.global_step
        with self._staging(f"The checkpoint of update {update}"):
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                assert self._staged is not None
                checkpoints.publish(self._staged / f"checkpoint-{update}", self.run_folder, update, keep=self._keep)
        self.accelerator.wait_for_everyone()

    @contextmanager
    def _staging(self, what: str) -> Iterator[None]:
        """Checkpoints written inside go to a staging folder, which is none yet.

        Raises:
            DataError: they could not be written; torch and safetensors each say so in a way of their own.
        """
        try:
            folder = [str(checkpoints.staging_folder(self.run_folder))] if self.is_world_process_zero() else [""]
            if self.accelerator.num_processes > 1:
                broadcast_object_list(folder)
            self._staged = Path(folder[0])
            yield
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = checkpoints.why_not_written(error, self.run_folder)
            raise DataError(
                f"{what} could not be written to {self.run_folder}: {reason}; "
                f"{checkpoints.newest_in_words(self.run_folder)}. Make room, or fix what is wrong there; the same "
                "command goes on."
            ) from error
        finally:
            self._staged = None
            if self.is_world_process_zero():
                checkpoints.drop_staging(self.run_folder)
