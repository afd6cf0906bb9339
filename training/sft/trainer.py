"""Supervised fine-tuning on transformers' `Trainer`: an item of its data loader is one update.

The transcripts of an update are packed by prefix tree, as the rollouts of a Flow-GRPO step are: they begin with the
same words, which are computed once. The loss is the mean negative log-likelihood of the update's tokens with loss.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from training.models.device import device_of
from training.models.fused_adapters import fuse_adapters
from training.models.kernels import fuse_kernels
from training.run.trainer import WholeCheckpoints, update_numbers
from training.sft.examples import updates
from training.update.gradient import accumulate_likelihood
from training.update.logprobs import attach_scoring
from training.update.packing import MicroBatch, deal, pack, pad
from training.update.packing_check import verify_packing
from training.update.rows import Row

if TYPE_CHECKING:
    from training.sft.config import SFTSettings

logger = logging.getLogger(__name__)


class PlannerSFTTrainer(WholeCheckpoints):
    """Trains on transcripts; nothing is tokenised or truncated.

    Args:
        model: the policy, PEFT-wrapped or not.
        settings: of the run.
        rows: the transcripts.
        tokenizer: saved with every checkpoint.
    """

    def __init__(self, model: nn.Module, settings: SFTSettings, rows: Sequence[Row], tokenizer: Any) -> None:
        self.settings = settings
        self._rows = rows
        self._updates = updates(rows, settings)
        device = device_of(settings.device)
        fuse_kernels(model, device)
        fuse_adapters(model)
        refusal = attach_scoring(model, device)
        self._packed = refusal is None and settings.packing == "auto"
        self._checked = False
        self._figures: dict[str, float] = {}
        if refusal and settings.packing == "auto":
            logger.warning(refusal)
        super().__init__(
            run_folder=Path(settings.out),
            keep=settings.keep,
            model=model,
            args=_arguments(settings, len(self._updates)),
            train_dataset=[0],  # a placeholder: an item is the number of an update
            processing_class=tokenizer,
        )

    def get_train_dataloader(self) -> DataLoader[dict[str, int]]:
        """The numbers of all updates, the same in every process."""
        return update_numbers(len(self._updates))

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: object = None) -> Tensor:
        """Accumulates the gradient of one update."""
        began = time.perf_counter()
        rows = [self._rows[place] for place in self._updates[inputs["update"]]]
        batches = self._lay_out(model, rows)
        ranks = self.accelerator.num_processes
        model.train()
        with self.compute_loss_context_manager():
            loss = accumulate_likelihood(
                model,
                deal(batches, ranks)[self.accelerator.process_index],
                lambda part: self.accelerator.backward(part * ranks),  # the ranks' gradients are averaged
                sync=self.sync_context(model),
            )
        self._figures = {
            "tokens/trained": sum(len(row.terms) for row in rows),
            "tokens/computed": sum(batch.tokens for batch in batches),
            "tokens/rows": sum(map(len, rows)),
            "seconds/update": time.perf_counter() - began,
        }
        every = gather_object([loss]) if ranks > 1 else [loss]
        return torch.tensor(sum(every), device=self.args.device)

    def _lay_out(self, model: nn.Module, rows: Sequence[Row]) -> list[MicroBatch]:
        """The micro-batches of an update; its terms weigh 1 together. The first ever is checked against padding."""
        share = 1 / sum(len(row.terms) for row in rows)
        rows = [replace(row, terms=replace(row.terms, weights=np.full(len(row.terms), share))) for row in rows]
        if self._packed and not self._checked:
            check = verify_packing(model, rows, self.settings.token_budget)
            self._checked = True
            if check.reason:
                self._packed = False
                logger.warning(check.reason)
        return (pack if self._packed else pad)(rows, self.settings.token_budget)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the figures of the update."""
        super().log({**logs, **self._figures} if "loss" in logs else logs, start_time)


def _arguments(settings: SFTSettings, count: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=settings.out,
        use_cpu=device_of(settings.device).type == "cpu",
        max_steps=count,
        per_device_train_batch_size=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.save_every,
        report_to=list(settings.report_to) or "none",
        remove_unused_columns=False,
        seed=settings.seed,
        data_seed=settings.seed,
        dataloader_num_workers=0,
        ddp_find_unused_parameters=False,
    )
