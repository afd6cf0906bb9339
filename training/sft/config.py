"""Settings of supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graph.errors import ConfigError
from graph.options import option
from training.run.settings import (
    AboveZero,
    Count,
    NotNegative,
    Positive,
    check_types,
    marked,
)

COMMAND = "training.sft"


@dataclass(frozen=True, kw_only=True)
class SFTSettings:
    """Settings of one supervised run.

    Raises:
        ConfigError: a value is of the wrong type or out of range, or two do not go together.
    """

    model: str = option("What is trained: a folder, a Hub name, or a GGUF file (dequantised for training).")
    out: str = option("Folder of the run.")
    rollouts: str = option("A run's folder, its rollouts/, or one file of rollouts; several joined by +.")
    min_reward: float = option("Least reward of a rollout that is learned from.", 1.0)
    dedupe: bool = option("Whether equal transcripts of a task are learned once.", True)
    per_task: Count = option("Most transcripts of a task, the first that succeeded; 0: all.", 0)
    accepted_only: bool = option("Whether only turns that were accepted carry loss.", False)
    max_length: Positive = option("Longer transcripts are left out, in tokens.", 8192)
    dtype: Literal["float32", "bfloat16"] = option("Type of the frozen weights.", "bfloat16")
    lora_rank: Count = option("Rank of the LoRA adapter; 0 trains all weights.", 16)
    lora_alpha: Positive = option("Scale of the adapter is lora_alpha / lora_rank.", 32)
    lora_targets: str = option("Modules that get an adapter, separated by commas, or `all-linear`.", "all-linear")
    device: Literal["auto", "cpu", "cuda"] = option(
        "Where it is trained; `auto`: on the GPU that is there.", "auto", resumable=True
    )
    gradient_checkpointing: bool = option("Whether activations are computed again to save memory.", False)
    epochs: AboveZero = option("Passes over the transcripts.", 1.0)
    batch_size: Positive = option("Transcripts of an update.", 16)
    micro_batch: Positive = option("Transcripts computed together.", 4, resumable=True)
    learning_rate: AboveZero = option("Peak learning rate.", 1e-5)
    lr_scheduler: str = option("Schedule, as in transformers' TrainingArguments.", "cosine")
    warmup_steps: Count = option("Updates over which the learning rate rises.", 0)
    weight_decay: NotNegative = option("Of AdamW.", 0.0)
    max_grad_norm: AboveZero = option("Gradients are scaled down to this norm.", 1.0)
    seed: Count = option("Of everything that is drawn.", 0)
    save_every: Positive = option("Updates between checkpoints.", 50, resumable=True)
    keep: Positive = option("Checkpoints that are kept.", 2, resumable=True)
    report_to: tuple[str, ...] = option("tensorboard, wandb, trackio, ...", (), resumable=True)

    def __post_init__(self) -> None:
        check_types(self, lists=("report_to",))
        if self.batch_size % self.micro_batch:
            raise ConfigError(
                f"The settings do not go together: batch_size ({self.batch_size}) must be a multiple of micro_batch "
                f"({self.micro_batch})."
            )


GROUPS = {"model": "What is trained", "min_reward": "What it learns from", "dtype": "How"}
"""Headings of the settings in `--help`, by the first setting under each."""

RESUMABLE = marked(SFTSettings, "resumable")
