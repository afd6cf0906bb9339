"""Flow-GRPO on transformers' `Trainer`: an item of its data loader is one update, made from the rollouts of one step.

The `Trainer` provides optimizer, schedule, clipping, logging, and accelerate with its wrappers (DDP, FSDP, DeepSpeed).
`training.flow_grpo.steps` makes the batches, `training.update.gradient` computes the gradient, and
`training.run.trainer` makes checkpoints atomic.

The version of the policy is its number of updates, which is the trainer's `global_step`.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from graph.errors import ModelError
from tools.counts import many
from training.engines.decoding import causal_model
from training.engines.vllm.delivery import gathered
from training.flow_grpo.config import FlowGRPOConfig
from training.flow_grpo.progress import RunFacts
from training.flow_grpo.steps import Parts, Step, Steps
from training.flow_grpo.update_memory import UpdateMemory, what_changed
from training.models.adapters import adapter_parameters, trainability_kept
from training.models.device import device_of
from training.models.fused_adapters import fuse_adapters
from training.models.kernels import fuse_kernels
from training.models.policy import without_adapter
from training.run import checkpoints
from training.run.alarms import Alarms
from training.run.metrics import MetricsFile, read_metrics
from training.run.trainer import WholeCheckpoints, update_numbers
from training.update.gradient import Update, UpdateSums, together
from training.update.logprobs import attach_scoring, forward_terms
from training.update.packing import MicroBatch

logger = logging.getLogger(__name__)

_NOT_REENTRANT = {"use_reentrant": False}
"""How activations are recomputed."""


class FlowGRPOTrainer(WholeCheckpoints):
    """Trains the policy that runs inside the agent.

    Args:
        model: the policy, PEFT-wrapped or not.
        config: settings of the run.
        parts: engine, sources of rollouts and tasks.
        tokenizer: saved with every checkpoint.
    """

    def __init__(self, model: nn.Module, config: FlowGRPOConfig, parts: Parts, tokenizer: Any = None) -> None:
        args = arguments(config)
        args.device  # noqa: B018 - connects the processes of the run
        self.parts = parts
        self._memory = UpdateMemory(config, model, parts.room, args.device)
        self.config = config = self._memory.config
        args.gradient_checkpointing = config.recomputes
        args.gradient_checkpointing_kwargs = _NOT_REENTRANT if config.recomputes else None
        fuse_kernels(model, args.device)
        fuse_adapters(model)
        refusal = attach_scoring(model, args.device)
        if parts.reference is not None:
            attach_scoring(parts.reference, args.device)
            parts.reference.requires_grad_(False)
        if refusal and config.packing == "auto":
            logger.warning(refusal)
        # The data sets are placeholders: an item is the number of an update, and its rollouts are made when it is due.
        super().__init__(
            run_folder=Path(config.out),
            keep=config.keep,
            model=model,
            args=args,
            train_dataset=[0],
            eval_dataset=[0],
            processing_class=tokenizer,
        )
        if parts.reference is not None:
            parts.reference.to(self.args.device)
        self._steps = Steps(
            config,
            parts,
            self.args.device,
            packed=config.packing == "auto" and refusal is None,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        self._step: Step | None = None
        self._figures: dict[str, float] = {}
        self._checkpointing: float | None = None
        self._alarms = Alarms()
        self._alarms_file = MetricsFile(self.run_folder / "alarms.jsonl")

    # Updates

    def get_train_dataloader(self) -> DataLoader[dict[str, int]]:
        """The numbers of all updates, the same in every process."""
        return update_numbers(self.config.steps * self.config.updates_per_step)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: object = None) -> Tensor:
        """Makes rollouts if a step starts, and accumulates the gradient of one update."""
        step, repeat = divmod(inputs["update"], self.config.updates_per_step)
        update = Update(model, self.config.objective_settings, self.config.temperature, self._reference(model))
        if repeat == 0 or self._step is None:
            self._step = self._steps.make(step, self.state.global_step)
            self._memory.within(partial(self._lay_out, self._step, update), partial(self._smaller, model=model))
        if self.parts.progress:
            self.parts.progress.updating(len(self._step.batches))
        began = time.perf_counter()
        self._memory.watch()
        work = partial(self._accumulate, self._step, update, repeat)
        sums = self._memory.within(work, partial(self._smaller, model=model))
        by_role = self._over_ranks(sums)
        total = together(by_role.values())
        logged_before = "seconds/" if repeat else ()  # what the rollouts took is told once a step
        self._figures = (
            {name: value for name, value in self._step.figures.items() if not name.startswith(logged_before)}
            | total.means()
            | self._memory.figures()
            | {
                "largest_logprob_gap": total.largest_gap,
                "seconds/update": time.perf_counter() - began,
            }
        )
        for role in self.config.several_roles:
            if role in by_role:
                means = {"loss": by_role[role].loss, **by_role[role].means()}
                self._figures |= {f"{name}/{role}": value for name, value in means.items()}
        if not math.isfinite(total.loss):
            raise ModelError(self._broken(f"The loss is {total.loss}"))
        return torch.tensor(total.loss, device=self.args.device)

    def _lay_out(self, step: Step, update: Update) -> None:
        self._steps.lay_out(step, update.model, self.config.budget)
        if self.config.updates_per_step > 1 and step.old_logprobs is None:
            step.old_logprobs = [update.scores(batch) for batch in step.batches]

    def _accumulate(self, step: Step, update: Update, repeat: int) -> dict[str, UpdateSums]:
        update.model.train()
        with self.compute_loss_context_manager():
            return update.accumulate(
                step.batches,
                self._backward,
                old=step.old_logprobs if repeat else None,
                ranks=self.accelerator.num_processes,
                sync=self.sync_context(update.model),
            )

    def _smaller(self, smaller: FlowGRPOConfig, model: nn.Module) -> None:
        """Goes on with smaller micro-batches after an update that ran out of memory."""
        text = (
            f"Memory ran out in update {self.state.global_step + 1}; nothing of it was applied, and it is made again "
            f"with {what_changed(self.config, smaller)}, which stays for the rest of the run."
        )
        (self.parts.progress.warned if self.parts.progress else logger.warning)(text)
        model.zero_grad(set_to_none=True)
        if smaller.recomputes and not self.config.recomputes:
            causal_model(self.accelerator.unwrap_model(model)).gradient_checkpointing_enable(_NOT_REENTRANT)
        self.config = smaller
        if self._step is not None and self._step.batches:
            self._steps.lay_out(self._step, model, smaller.budget)

    # The gradient

    def _reference(self, model: nn.Module) -> Callable[[MicroBatch], Tensor]:
        def scores(batch: MicroBatch) -> Tensor:
            frozen = self.parts.reference
            unwrapped = self.accelerator.unwrap_model(model)
            training = model.training
            model.eval()
            try:
                with torch.no_grad(), nullcontext() if frozen is not None else without_adapter(unwrapped):
                    chosen = model if frozen is None else frozen
                    return forward_terms(chosen, batch, self.config.temperature, entropies=False).logprobs
            finally:
                model.train(training)

        return scores

    def _backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """Each adapter's by itself: what one role does wrong does not slow down the others."""
        adapters = self.config.adapters
        if not adapters or self.is_deepspeed_enabled:  # DeepSpeed clips when it steps
            norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        else:
            norms = {
                name: self.accelerator.clip_grad_norm_(adapter_parameters(model, name), self.args.max_grad_norm)
                for name in adapters
            }
            self._figures |= {f"grad_norm/{name}": float(norm) for name, norm in norms.items()}
            norm = sum(float(norm) ** 2 for norm in norms.values()) ** 0.5
        if norm is not None and not math.isfinite(float(norm)):
            raise ModelError(self._broken(f"The gradient's norm is {float(norm)}"))
        return norm

    def _over_ranks(self, sums: dict[str, UpdateSums]) -> dict[str, UpdateSums]:
        if self.accelerator.num_processes == 1:
            return sums
        every: list[dict[str, UpdateSums]] = gather_object([sums])
        roles = {role: None for part in every for role in part}
        return {role: together(part[role] for part in every if role in part) for role in roles}

    def _broken(self, what: str) -> str:
        return (
            f"{what} in update {self.state.global_step + 1}; it was not applied, and "
            f"{checkpoints.newest_in_words(self.run_folder)}. "
            "Lower learning_rate or clip_high, or train in float32; the same command continues from the checkpoint."
        )

    # Validation

    def evaluate(self, *args: object, **kwargs: object) -> dict[str, float]:
        """One run of each held-out task; infrastructure failures count as wrong."""
        if self.parts.validator is None:
            return {}
        figures = self._steps.validate(self.state.global_step)
        named = {f"eval/{name}": value for name, value in figures.items()}
        self.log(named)
        # As in transformers' own `evaluate`: this clears the request to evaluate, which the end of an epoch would
        # otherwise serve a second time.
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, named)
        return named

    # Logs and checkpoints

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the figures of the step, and raises alarms."""
        is_step = "loss" in logs
        if is_step:
            logs = {**logs, **self._figures}
            if self._checkpointing is not None:  # of the checkpoint after the previous line
                logs["seconds/checkpoint"], self._checkpointing = self._checkpointing, None
        super().log(logs, start_time)
        if not self.is_world_process_zero() or "train_runtime" in logs:
            return
        progress = self.parts.progress
        for text in self._alarms.check(logs) if is_step else ():
            self._alarms_file.append({"update": self.state.global_step, "time": time.time(), "text": text})
            if progress:
                progress.warned(text)
        if progress:
            progress.logged(self.state.global_step, logs)

    def discard_after(self, update: int) -> None:
        """Drops metrics, alarms and rollouts written after the checkpoint of an update."""
        super().discard_after(update)
        self._alarms_file.discard_after(update)
        self.parts.store.discard_from(max(0, update) // self.config.updates_per_step)
        if self.parts.validator and self.parts.validator.store:
            self.parts.validator.store.discard_from(update + 1)
        for line in read_metrics(self.metrics_file.path) if self.metrics_file.path.exists() else ():
            if "loss" in line:  # alarms compare with earlier steps
                self._alarms.check(line)

    def before_training(self, checkpoint: Path | None) -> None:
        """Tells what the run is, and does not ask the held-out tasks again that the checkpoint was measured on."""
        if checkpoint:
            self.args.eval_on_start = False
        if self.parts.progress:
            self.parts.progress.started(self._facts(checkpoints.update_of(checkpoint) if checkpoint else 0))
        random.seed(self.config.seed)

    def _facts(self, updates: int) -> RunFacts:
        assert self.model is not None
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self.model.parameters()]
        device = self.args.device
        return RunFacts(
            weights=sum(size for size, _ in sizes),
            trained=sum(size for size, trained in sizes if trained),
            tasks=self.parts.tasks,
            held_out=len(self.parts.validation),
            device=torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else f"{device.type}, {many(torch.get_num_threads(), 'thread')}",
            processes=self.accelerator.num_processes,
            engine=self.config.engine,
            updates=updates,
            memory=self._memory.in_words(),
        )

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        if self.state.global_step % self.config.updates_per_step:
            return  # a step cannot be resumed in the middle: its rollouts are gone
        began = time.perf_counter()
        super()._save_checkpoint(model, trial)
        self._checkpointing = time.perf_counter() - began

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """All adapters go on being trained: transformers leaves but one of several trainable."""
        assert self.model is not None
        with trainability_kept(self.model):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in transformers, but sharded weights are gathered here, and of an adapter only its own."""
        if not self.is_fsdp_enabled:
            super().save_model(output_dir, _internal_call)
            return
        assert self.model is not None
        state = gathered(self.model)
        if self.args.should_save:
            self._save(output_dir, state_dict=state)

    def close(self) -> None:
        """Stops running rollouts and the engine."""
        self._steps.close()


def arguments(config: FlowGRPOConfig) -> TrainingArguments:
    """The run's settings for transformers."""
    validates = config.validation_every > 0
    return TrainingArguments(
        output_dir=config.out,
        use_cpu=device_of(config.device).type == "cpu",
        max_steps=config.steps * config.updates_per_step,
        per_device_train_batch_size=1,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_scheduler,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.save_every * config.updates_per_step,
        eval_strategy="steps" if validates else "no",
        eval_steps=config.validation_every * config.updates_per_step if validates else None,
        eval_on_start=validates,
        report_to=list(config.report_to) or "none",
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=config.seed,
        full_determinism=config.deterministic,
        dataloader_num_workers=0,
        ddp_find_unused_parameters=bool(config.adapters),  # a backward pass is through one of them
    )
