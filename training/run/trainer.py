"""Atomic checkpoints, `metrics.jsonl` and whole updates for any trainer that descends from transformers' `Trainer`.

transformers writes a checkpoint file by file into the run's folder. Here it writes into a staging folder, which becomes
the checkpoint once all of it is on the disk (`training.run.checkpoints`). An interrupted or failed save leaves the
earlier checkpoints unchanged.

An item of the data loader is the number of an update (`update_numbers`): the trainer makes the update's micro-batches
itself, all of which end in one step of the optimizer (`sync_context`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils import DistributedType, broadcast_object_list  # type: ignore[import-untyped]
from safetensors import SafetensorError
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer

from graph.errors import DataError
from training.run import checkpoints
from training.run.folder import SETTINGS
from training.run.metrics import MetricsFile


class WholeCheckpoints(Trainer):
    """A mixin that stands before the trainer class: `class Mine(WholeCheckpoints, SFTTrainer)`.

    Args:
        run_folder: folder for checkpoints and metrics.
        keep: number of checkpoints to keep.
        options: arguments of the trainer itself.
    """

    def __init__(self, *, run_folder: Path, keep: int, **options: Any) -> None:
        self.run_folder = run_folder
        self.metrics_file = MetricsFile(run_folder / "metrics.jsonl")
        self._keep = keep
        self._staged: Path | None = None
        # A process trains on one GPU, however many it sees: transformers would wrap the model in `nn.DataParallel`,
        # which deals the rows of a batch out and knows nothing of what belongs to them.
        options["args"]._n_gpu = min(1, options["args"].n_gpu)
        self._had_settings = False
        super().__init__(**options)
        self.remove_callback(PrinterCallback)  # `metrics.jsonl` has the numbers

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Also writes the metrics of an update to `metrics.jsonl`."""
        if "train_runtime" in logs:  # the Trainer's own summary of this process
            return
        super().log(logs, start_time)
        if self.is_world_process_zero():
            self.metrics_file.append({"update": self.state.global_step, "time": time.time(), **logs})

    def train_from_last_checkpoint(self) -> None:
        """Trains to the end, from the newest complete checkpoint if there is one.

        Raises:
            AgentFlowError: the run failed; the message says why.
        """
        newest = checkpoints.newest(self.run_folder)
        self._had_settings = (self.run_folder / SETTINGS).is_file()
        self.before_training(newest)
        if self.is_world_process_zero():
            self.discard_after(checkpoints.update_of(newest) if newest else -1)
        self.accelerator.wait_for_everyone()
        self.train(resume_from_checkpoint=str(newest) if newest else None)

    def before_training(self, checkpoint: Path | None) -> None:
        """Is told the checkpoint that the run goes on from, if there is one."""

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """The learning rate rises over `warmup_steps` updates in every schedule, and is above 0 in the first.

        In transformers `constant` has no warm-up, and the others begin with an update that changes nothing.
        """
        exists = self.lr_scheduler is not None
        schedule = super().create_scheduler(num_training_steps, optimizer)
        updates = self.args.get_warmup_steps(num_training_steps)
        if not exists and updates and isinstance(schedule, LambdaLR):
            self.lr_scheduler = schedule = warmed_up(schedule, updates)
        return schedule

    def sync_context(self, model: nn.Module) -> Callable[[bool], AbstractContextManager[object]]:
        """Makes a context for the passes of each micro-batch, told whether it is the last of its update.

        Processes exchange gradients after the last one only.
        """
        deepspeed = self.accelerator.distributed_type == DistributedType.DEEPSPEED

        def context(last: bool) -> AbstractContextManager[object]:
            if deepspeed:  # its engine steps in the backward pass that is marked as the last
                self.accelerator.gradient_state._set_sync_gradients(last)
                return nullcontext()
            chosen: AbstractContextManager[object] = nullcontext() if last else self.accelerator.no_sync(model)
            return chosen

        return context

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not estimated: the logged token counts are more useful."""
        return 0

    def discard_after(self, update: int) -> None:
        """Drops everything written after the checkpoint of an update, since it will be written again; -1 drops all."""
        self.metrics_file.discard_after(update)

    def save_final(self) -> Path:
        """Writes the trained model to the run's folder, atomically.

        Raises:
            DataError: the model could not be written.
        """
        final = self.run_folder / "final"
        with self._staging("The trained model"):
            assert self._staged is not None
            staged = self._staged / final.name
            self.save_model(str(staged))
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                checkpoints.put(staged, final)
        self.accelerator.wait_for_everyone()
        return final

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
        """Inside, checkpoints are written to a staging folder.

        Raises:
            DataError: writing failed; torch and safetensors report that in different ways. Or the run's folder is
                gone: in a new one the checkpoint would stand alone, without settings and earlier work.
        """
        settings = self.run_folder / SETTINGS
        if self._had_settings and not settings.is_file():
            raise DataError(
                f"{what} could not be written: {settings} has been removed while the run was at work. Put the folder "
                "back, or give the same command again to begin anew."
            )
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
                f"{checkpoints.newest_in_words(self.run_folder)}. Free some space, or fix the cause; the same "
                "command continues."
            ) from error
        finally:
            self._staged = None
            if self.is_world_process_zero():
                checkpoints.drop_staging(self.run_folder)


def warmed_up(schedule: LambdaLR, updates: int) -> LambdaLR:
    """A schedule whose learning rate rises evenly over so many updates, the first of which has a share of the peak."""
    return LambdaLR(schedule.optimizer, [partial(_share_of_peak, after, updates) for after in schedule.lr_lambdas])


def _share_of_peak(after: Callable[[int], float], updates: int, update: int) -> float:
    return (update + 1) / (updates + 1) if update < updates else after(update)


def update_numbers(count: int) -> DataLoader[dict[str, int]]:
    """A data loader over the numbers of `count` updates, each as `{"update": number}`; the same in every process."""
    return DataLoader(range(count), collate_fn=_only)  # type: ignore[arg-type]


def _only(items: Sequence[int]) -> dict[str, int]:
    return {"update": items[0]}
