"""TRL's `SFTTrainer` with this project's run folder: whole checkpoints, `metrics.jsonl`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from training.run import checkpoints
from training.run.metrics import MetricsFile

if TYPE_CHECKING:
    from training.sft.config import SFTSettings


class PlannerSFTTrainer(SFTTrainer):  # type: ignore[misc]
    """Learns transcripts whose ids and labels are given; nothing is tokenized or cut.

    Args:
        model: the policy, PEFT-wrapped or not.
        settings: the run's.
        data: rows of `input_ids` and `labels`.
        tokenizer: saved with every checkpoint.
    """

    def __init__(self, model: Any, settings: SFTSettings, data: Any, tokenizer: Any) -> None:
        self.run_folder = Path(settings.out)
        self._keep = settings.keep
        self._staged: Path | None = None
        self._file = MetricsFile(self.run_folder / "metrics.jsonl")
        super().__init__(model=model, args=_arguments(settings), train_dataset=data, processing_class=tokenizer)
        self.remove_callback(PrinterCallback)

    def train_from_last_checkpoint(self) -> None:
        """Trains to the end, from the newest whole checkpoint if there is one; later lines of the metrics go first."""
        kept = checkpoints.checkpoints(self.run_folder)
        if self.is_world_process_zero():
            self._file.discard_after(checkpoints.update_of(kept[-1]) if kept else -1)
        self.train(resume_from_checkpoint=str(kept[-1]) if kept else None)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Writes the figures of an update to `metrics.jsonl`."""
        if "train_runtime" in logs:  # the Trainer's own summary of this process
            return
        super().log(logs, start_time)
        if self.is_world_process_zero():
            self._file.append({"update": self.state.global_step, "time": time.time(), **logs})

    def create_model_card(self, *args: object, **kwargs: object) -> None:
        """None here: `training.export` writes one, with what was really measured."""

    def _get_output_dir(self, trial: object) -> str:
        return str(self._staged or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: object) -> None:
        update = self.state.global_step
        if self.is_world_process_zero():
            checkpoints.staging_folder(self.run_folder)
        self._staged = self.run_folder / "staging"
        self.accelerator.wait_for_everyone()
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                checkpoints.publish(self._staged / f"checkpoint-{update}", self.run_folder, update, keep=self._keep)
        finally:
            self._staged = None
            if self.is_world_process_zero():
                checkpoints.drop_staging(self.run_folder)
        self.accelerator.wait_for_everyone()


def _arguments(settings: SFTSettings) -> SFTConfig:
    return SFTConfig(
        output_dir=settings.out,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=settings.batch_size // settings.micro_batch,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        bf16=False,  # the weights have their type already
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=1,
        save_strategy="steps",
        save_steps=settings.save_every,
        report_to=list(settings.report_to) or "none",
        seed=settings.seed,
        data_seed=settings.seed,
    )
