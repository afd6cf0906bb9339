"""Settings of supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graph.options import option
from training.run.settings import AboveZero, Count, NotNegative, Positive, check_types, marked

COMMAND = "training.sft"


@dataclass(frozen=True, kw_only=True)
class SFTSettings:
    """Settings of one supervised run.

    Raises:
        ConfigError: a value is of the wrong type or out of range, or two do not go together.
    """

    model: str = option("The model to train: a folder, a Hub name, or a GGUF file (dequantised for training).")
    out: str = option("Folder of the run.")
    rollouts: str = option("Rollouts to learn from: a run's folder, its rollouts/, or one file; join several by +.")
    min_reward: float = option("Lowest reward of a rollout to learn from.", 1.0)
    dedupe: bool = option("Whether duplicate transcripts of a task are dropped.", True)
    per_task: Count = option("Transcripts per task, the earliest successes first; 0: all.", 0)
    accepted_only: bool = option("Whether only accepted turns carry loss.", False)
    max_length: Positive = option("Longest transcript in tokens; longer ones are left out.", 8192)
    epochs: AboveZero = option("Passes over the transcripts.", 1.0)
    max_trained_tokens: Positive | None = option(
        "Tokens with loss to see, instead of epochs; transcripts are repeated as often as that takes.", None
    )
    dtype: Literal["float32", "bfloat16"] = option("Data type of the frozen weights.", "bfloat16")
    lora_rank: Count = option("Rank of the LoRA adapter; 0 trains all weights.", 16)
    lora_alpha: Positive = option("The adapter is scaled by lora_alpha / lora_rank.", 32)
    lora_targets: str = option("Modules with an adapter, separated by commas, or `all-linear`.", "all-linear")
    device: Literal["auto", "cpu", "cuda"] = option(
        "Device of the policy; `auto` takes a GPU if there is one.", "auto", resumable=True
    )
    gradient_checkpointing: bool = option(
        "Whether activations are recomputed in the backward pass, to save memory.", False
    )
    batch_size: Positive = option("Transcripts per update.", 16)
    packing: Literal["auto", "off"] = option("`auto` packs transcripts by prefix tree if the model allows it.", "auto")
    token_budget: Positive = option("Tokens per micro-batch.", 8192, resumable=True)
    learning_rate: AboveZero = option("Peak learning rate.", 1e-5)
    lr_scheduler: str = option("Learning rate schedule, as in transformers' TrainingArguments.", "cosine")
    warmup_steps: Count = option("Updates over which the learning rate rises to its peak, whatever the schedule.", 0)
    weight_decay: NotNegative = option("Weight decay of AdamW.", 0.0)
    max_grad_norm: AboveZero = option("Largest gradient norm; larger gradients are scaled down.", 1.0)
    seed: Count = option("Seed of every random draw.", 0)
    save_every: Positive = option("Updates between checkpoints.", 50, resumable=True)
    keep: Positive = option("Number of checkpoints to keep.", 2, resumable=True)
    report_to: tuple[str, ...] = option("Trackers: tensorboard, wandb, trackio, ...", (), resumable=True)

    def __post_init__(self) -> None:
        check_types(self, lists=("report_to",))


GROUPS = {"model": "What is trained", "min_reward": "Data", "dtype": "Optimisation"}
"""Headings of the settings in `--help`, by the first setting under each."""

RESUMABLE = marked(SFTSettings, "resumable")
