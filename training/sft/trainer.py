"""TRL's `SFTTrainer` with this project's run folder: atomic checkpoints, `metrics.jsonl`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from training.models.device import device_of
from training.run.trainer import WholeCheckpoints

if TYPE_CHECKING:
    from training.sft.config import SFTSettings


class PlannerSFTTrainer(WholeCheckpoints, SFTTrainer):  # type: ignore[misc]
    """Trains on transcripts with ids and labels; nothing is tokenised or truncated.

    Args:
        model: the policy, PEFT-wrapped or not.
        settings: of the run.
        data: rows of `input_ids` and `labels`.
        tokenizer: saved with every checkpoint.
    """

    def __init__(self, model: Any, settings: SFTSettings, data: Any, tokenizer: Any) -> None:
        super().__init__(
            run_folder=Path(settings.out),
            keep=settings.keep,
            model=model,
            args=_arguments(settings),
            train_dataset=data,
            processing_class=tokenizer,
        )

    def create_model_card(self, *args: object, **kwargs: object) -> None:
        """Writes none: `training.export` writes a card with the measurements."""


def _arguments(settings: SFTSettings) -> SFTConfig:
    return SFTConfig(
        output_dir=settings.out,
        use_cpu=device_of(settings.device).type == "cpu",
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
        bf16=False,  # the weights already have their type
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=1,
        save_strategy="steps",
        save_steps=settings.save_every,
        report_to=list(settings.report_to) or "none",
        seed=settings.seed,
        data_seed=settings.seed,
    )
