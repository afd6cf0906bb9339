"""Runs supervised fine-tuning."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph.errors import ConfigError, DataError
from tools.counts import many
from training.run.folder import claimed
from training.run.limits import is_out_of_memory
from training.run.settings import plain_values
from training.sft.config import COMMAND, RESUMABLE, SFTSettings
from training.sft.examples import Examples, examples, rollouts_of

if TYPE_CHECKING:
    from training.sft.trainer import PlannerSFTTrainer


def train(settings: SFTSettings) -> None:
    """Trains to the end, from the last checkpoint if there is one.

    Raises:
        AgentFlowError: the run failed; the message says why.
        OSError: the disk is full.
    """
    from training.models.policy import quiet
    from training.run import ranks

    quiet()
    transcripts = examples(rollouts_of(settings.rollouts), settings)
    sys.stderr.write(
        f"{many(len(transcripts.rows), 'transcript')} of {many(transcripts.successes, 'success', 'successes')} in "
        f"{many(transcripts.rollouts, 'rollout')}; "
        f"left out: {many(transcripts.duplicates, 'duplicate')}, {transcripts.too_long} too long, "
        f"{transcripts.enough} over per_task\n"
    )
    folder = Path(settings.out)
    with claimed(folder, {**plain_values(settings), "command": COMMAND}, resumable=RESUMABLE):
        _train(settings, transcripts)
    ranks.leave()


def _train(settings: SFTSettings, transcripts: Examples) -> None:
    trainer = make_trainer(settings, transcripts)
    try:
        trainer.train_from_last_checkpoint()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ConfigError(
            f"There is not enough memory for {settings.token_budget} tokens; lower token_budget, or turn on "
            "gradient_checkpointing. The same command continues from the last checkpoint."
        ) from error


def make_trainer(settings: SFTSettings, transcripts: Examples) -> PlannerSFTTrainer:
    """The trainer of a run.

    Raises:
        ConfigError: the model cannot be loaded, or has no such modules.
        DataError: the transcripts are of another model.
    """
    from training.models.policy import load_policy, with_adapter
    from training.sft.trainer import PlannerSFTTrainer

    base, tokenizer = load_policy(settings.model, settings.dtype)
    vocabulary = int(base.config.vocab_size)
    if max(row.input_ids.max() for row in transcripts.rows) >= vocabulary:
        raise DataError(
            f"The rollouts of {settings.rollouts} hold tokens that {settings.model} does not have; train the model "
            "that sampled them."
        )
    model: Any = base
    if settings.lora_rank:
        model = with_adapter(
            base, rank=settings.lora_rank, alpha=settings.lora_alpha, targets=settings.lora_targets, seed=settings.seed
        )
    return PlannerSFTTrainer(model, settings, transcripts.rows, tokenizer)
