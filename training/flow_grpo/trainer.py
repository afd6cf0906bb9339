"""Flow-GRPO on transformers' `Trainer`: one item of its data loader is one update, made from one step's rollouts.

The `Trainer` keeps what it is good at: optimizer, schedule, clipping, accelerate with its wrappers (DDP, FSDP,
DeepSpeed), checkpoints, logging. What is ours is where a batch comes from (runs of the graph), how it is laid out
(packed), what is summed (`training.update.gradient`), and that a checkpoint is whole or not there.

Versions: the policy's version is the number of updates it has seen, which is the trainer's `global_step`.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType, broadcast_object_list, gather_object  # type: ignore[import-untyped]
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainingArguments

from evals.task import Task
from graph.errors import DataError, ModelError
from training.engines.vllm.delivery import gathered
from training.flow_grpo.config import FlowGRPOConfig
from training.flow_grpo.steps import Parts, Step, varies
from training.models.policy import without_adapter
from training.rollouts.background import LoopThread, Underway
from training.rollouts.breakdown import breakdown
from training.rollouts.collector import Collector
from training.rollouts.figures import step_metrics
from training.rollouts.records import Group, Rollout, failures_by_kind, groups_of, rollout_from_dict
from training.rollouts.replayed import Replayed
from training.rollouts.store import RolloutStore
from training.run import checkpoints
from training.run.alarms import Alarms
from training.run.metrics import MetricsFile, read_metrics
from training.update.assemble import Assembled, assemble
from training.update.gradient import Update, UpdateSums
from training.update.logprobs import attach_scoring, forward_terms
from training.update.packing import MicroBatch, deal, pack, pad
from training.update.packing_check import verify_packing

logger = logging.getLogger(__name__)


class FlowGRPOTrainer(Trainer):
    """Trains the policy that runs inside the agent.

    Args:
        model: the policy, PEFT-wrapped or not.
        config: the run's settings.
        parts: engine, collectors and tasks.
        tokenizer: saved with every checkpoint.
    """

    def __init__(self, model: nn.Module, config: FlowGRPOConfig, parts: Parts, tokenizer: Any = None) -> None:
        self.config = config
        self.parts = parts
        self.run_folder = Path(config.out)
        refusal = attach_scoring(model)
        if parts.reference is not None:
            attach_scoring(parts.reference)
            parts.reference.requires_grad_(False)
        self._packed = config.packing == "auto" and refusal is None
        if refusal and config.packing == "auto":
            logger.warning(refusal)
        self._packing_checked = not self._packed
        # The data sets are placeholders: an item is a number, and its rollouts are made when it is due.
        super().__init__(
            model=model, args=arguments(config), train_dataset=[0], eval_dataset=[0], processing_class=tokenizer
        )
        if parts.reference is not None:
            parts.reference.to(self.args.device)
        self.remove_callback(PrinterCallback)  # `metrics.jsonl` and `Progress` tell it better
        self._step: Step | None = None
        self._figures: dict[str, float] = {}
        self._rollout_seconds = 0.0
        self._staged: Path | None = None
        self._checkpointing: float | None = None
        self._runner = LoopThread(self.args.device)
        self._ahead: Underway | None = None
        self._ahead_figures: dict[str, float] | None = None
        self._metrics = MetricsFile(self.run_folder / "metrics.jsonl")
        self._alarms = Alarms()
        self._alarms_file = MetricsFile(self.run_folder / "alarms.jsonl")

    # What an update is made from

    def get_train_dataloader(self) -> DataLoader[dict[str, int]]:
        """The numbers of all updates, the same on every rank."""
        return DataLoader(range(self.config.steps * self.config.updates_per_step), collate_fn=_only)  # type: ignore[arg-type]

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: object = None) -> Tensor:
        """Rolls out if a step begins, and accumulates the gradient of one update."""
        step, repeat = divmod(inputs["update"], self.config.updates_per_step)
        update = Update(model, self.config.objective_settings, self.config.temperature, self._reference(model))
        if repeat == 0 or self._step is None:
            self._step = self._new_step(step, model)
            if self.config.updates_per_step > 1:
                self._step.old = [update.scores(batch) for batch in self._step.batches]
        if self.parts.progress:
            self.parts.progress.updating(len(self._step.batches))
        began = time.perf_counter()
        model.train()
        with self.compute_loss_context_manager():
            sums = update.accumulate(
                self._step.batches,
                self._backward,
                old=self._step.old if repeat else None,
                ranks=self.accelerator.num_processes,
                sync=self._sync_context(model),
            )
        sums = self._over_ranks(sums)
        told_before = "seconds/" if repeat else ()  # what the rollouts took is told once a step
        self._figures = (
            {name: value for name, value in self._step.figures.items() if not name.startswith(told_before)}
            | sums.means()
            | {
                "largest_logprob_gap": sums.largest_gap,
                "seconds/update": time.perf_counter() - began,
            }
        )
        if not math.isfinite(sums.loss):
            raise ModelError(self._broken(f"The loss is {sums.loss}"))
        return torch.tensor(sums.loss, device=self.args.device)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not estimated: the packed tokens that are logged say more."""
        return 0

    def _new_step(self, step: int, model: nn.Module) -> Step:
        began = time.perf_counter()
        if self._ahead is None:
            self._publish_policy()
        synced = time.perf_counter()
        self._rollout_seconds = 0.0
        rollouts, groups = self._roll_out(step)
        ended = time.perf_counter()
        spent = self._rollout_seconds
        measured = self._ahead_figures or self._engine_figures(spent)
        self._ahead_figures = None
        if self.config.overlap:
            measured |= {"seconds/waited": ended - synced}
            self._roll_out_ahead(step + 1)
        beta = self.config.beta
        made = assemble(
            groups,
            temperature=self.config.temperature,
            estimator=self.config.estimator,
            reduction=self.config.reduction,
            max_tokens=self.config.max_tokens,
            keep_zero_variance=beta > 0,
        )
        figures = step_metrics(rollouts, version=self.state.global_step) | self._group_figures(made, groups)
        figures |= {"seconds/sync": synced - began, "seconds/rollout": spent} | measured
        self._refuse_nothing(step, made, rollouts)
        batches = self._laid_out(made, model)
        figures["tokens/trained"] = sum(len(batch.terms) for batch in batches)
        figures["tokens/computed"] = sum(batch.tokens for batch in batches)
        figures["tokens/rows"] = sum(batch.raw_tokens for batch in batches)
        mine = deal(batches, self.accelerator.num_processes)[self.accelerator.process_index]
        return Step(mine, figures=figures)

    def _roll_out(self, step: int) -> tuple[list[Rollout], list[Group]]:
        """The rollouts of a step, and the groups to train on."""
        rollouts = self._collected(self.parts.collector, step, self.parts.schedule.of_step(step))
        groups = list(groups_of(rollouts))
        wanted = len(groups)
        for round_ in range(1, self.config.refill + 1):
            if sum(varies(group) for group in groups) >= wanted:
                break
            more = self._collected(self.parts.collector, step, self.parts.schedule.of_step(step, round_))
            rollouts += more
            groups += groups_of(more)
        if self.config.refill:
            # Groups without variance fill up what even the refilling did not yield: a step that is all right goes on.
            groups = sorted(groups, key=lambda group: not varies(group))[:wanted]
        return rollouts, groups

    def _refuse_nothing(self, step: int, made: Assembled, rollouts: Sequence[Rollout]) -> None:
        """A step without anything to learn from would look like training and be none."""
        if not made.rollouts:
            kinds = ", ".join(f"{kind} ({count})" for kind, count in failures_by_kind(rollouts).items()) or "none"
            first = next((r.failure["message"] for r in rollouts if r.failure), "")
            raise ModelError(
                f"No rollout of step {step} can be trained on; failures: {kinds}. The first: {first} Then give the "
                f"same command again; {self._last_checkpoint()}."
            )
        if not any(rollout.turns for rollout in rollouts):
            raise ModelError(
                f"The {self.config.role} was never asked in the {len(rollouts)} rollouts of step {step}, so nothing "
                "can be learned; check `role` and the settings of the agent around it."
            )

    def _collected(self, collector: Collector | Replayed, step: int, tasks: Sequence[Task]) -> list[Rollout]:
        """The rollouts of all ranks, in order of the tasks; each rank runs its share of them."""
        begun, self._ahead = self._ahead or self._begun(collector, step, tasks), None
        if self.parts.progress:
            begun.show(self.parts.progress)
        found, seconds = self._runner.wait(begun.work)
        self._rollout_seconds += seconds
        if self.accelerator.num_processes == 1:
            return found
        every = [rollout_from_dict(plain) for plain in gather_object([rollout.as_dict() for rollout in found])]
        place = {task.id: number for number, task in enumerate(tasks)}
        return sorted(every, key=lambda rollout: (place[rollout.task.id], rollout.index))

    def _begun(self, collector: Collector | Replayed, step: int, tasks: Sequence[Task]) -> Underway:
        """This rank's share of some rollouts, under way."""
        mine = list(tasks)[self.accelerator.process_index :: self.accelerator.num_processes]
        return Underway(self._runner, collector, step, mine)

    def _roll_out_ahead(self, step: int) -> None:
        """Begins the next step's rollouts with the policy of now: one step older than the one they will train."""
        if step < self.config.steps:
            self._publish_policy()
            self._ahead = self._begun(self.parts.collector, step, self.parts.schedule.of_step(step))

    def _laid_out(self, made: Assembled, model: nn.Module) -> list[MicroBatch]:
        rows = [row for row in made.rows if len(row.terms)]
        if not self._packing_checked and rows:
            check = verify_packing(model, rows, self.config.token_budget, self.config.temperature)
            self._packing_checked = True
            if check.reason:
                self._packed = False
                logger.warning(check.reason)
        return (pack if self._packed else pad)(rows, self.config.token_budget)

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

    def _sync_context(self, model: nn.Module) -> Callable[[bool], AbstractContextManager[object]]:
        deepspeed = self.accelerator.distributed_type == DistributedType.DEEPSPEED

        def context(last: bool) -> AbstractContextManager[object]:
            if deepspeed:  # its engine steps in the backward pass that is said to be the last
                self.accelerator.gradient_state._set_sync_gradients(last)
                return nullcontext()
            chosen: AbstractContextManager[object] = nullcontext() if last else self.accelerator.no_sync(model)
            return chosen

        return context

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        if norm is not None and not math.isfinite(float(norm)):
            raise ModelError(self._broken(f"The gradient's norm is {float(norm)}"))
        return norm

    def _over_ranks(self, sums: UpdateSums) -> UpdateSums:
        if self.accelerator.num_processes == 1:
            return sums
        every: list[UpdateSums] = gather_object([sums])
        total = UpdateSums()
        for part in every:
            total.loss += part.loss
            total.add(part.sums)
            total.largest_gap = max(total.largest_gap, part.largest_gap)
        return total

    def _broken(self, what: str) -> str:
        return (
            f"{what} in update {self.state.global_step + 1}; nothing of it was applied and {self._last_checkpoint()}. "
            "Lower learning_rate or clip_high, or train in float32; the same command goes on from the checkpoint."
        )

    def _last_checkpoint(self) -> str:
        kept = checkpoints.checkpoints(self.run_folder)
        return f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"

    # The policy's way to the engine

    def _publish_policy(self) -> None:
        """The engine samples from the current weights from here on."""
        version = self.state.global_step
        if self.parts.engine.version != version:
            self._runner.run(self.parts.engine.sync(version))

    def _engine_figures(self, seconds: float) -> dict[str, float]:
        figures = self._runner.run(self.parts.engine.figures())
        made = {f"engine/{name}": value for name, value in figures.items()}
        if "sampled_tokens" in figures:
            made["tokens_per_second"] = figures["sampled_tokens"] / max(seconds, 1e-9)
        return made

    # Validation

    def evaluate(self, *args: object, **kwargs: object) -> dict[str, float]:
        """One run of each held-out task; failures of the surroundings count as wrong."""
        if self.parts.validator is None:
            return {}
        began = time.perf_counter()
        ahead, self._ahead = self._ahead, None
        if ahead is not None:  # these rollouts are of one policy: the validation's has to wait for them
            _, seconds = self._runner.wait(ahead.work)
            self._ahead_figures = self._engine_figures(seconds)
        self._publish_policy()
        version = self.state.global_step
        rollouts = self._collected(self.parts.validator, version, self.parts.validation)
        self._ahead = ahead
        if self.config.deterministic:  # a run that resumes after the validation has none of its memory either
            self._runner.run(self.parts.engine.sync(version))
        figures = step_metrics(rollouts, version=version)
        figures |= breakdown(rollouts)
        figures["pass_rate"] = figures.pop("solved", 0.0)
        figures["seconds"] = time.perf_counter() - began
        figures |= self._engine_figures(figures["seconds"])
        named = {f"eval/{name}": value for name, value in figures.items()}
        self.log(named)
        # Told as transformers' own `evaluate` tells it: this takes back the wish to evaluate, which the end of an epoch
        # would otherwise fulfil a second time.
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, named)
        return named

    # Logs and checkpoints

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the step's figures, and writes them to `metrics.jsonl`."""
        if "train_runtime" in logs:  # the Trainer's own summary of this process
            return
        is_step = "loss" in logs
        if is_step:
            logs = {**logs, **self._figures}
            if self._checkpointing is not None:  # it was written after the line before this one
                logs["seconds/checkpoint"], self._checkpointing = self._checkpointing, None
        super().log(logs, start_time)
        if not self.is_world_process_zero():
            return
        when = {"update": self.state.global_step, "time": time.time()}
        self._metrics.append({**when, **logs})
        for text in self._alarms.check(logs) if is_step else ():
            self._alarms_file.append({**when, "text": text})
            if self.parts.progress:
                self.parts.progress.warned(text)
        if self.parts.progress:
            self.parts.progress.logged(logs)

    def _get_output_dir(self, trial: object) -> str:
        return str(self._staged or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        if self.state.global_step % self.config.updates_per_step:
            return  # the rest of a step cannot be done without its rollouts
        update = self.state.global_step
        began = time.perf_counter()
        with self._staging(f"The checkpoint of update {update}"):
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                assert self._staged is not None
                staged = self._staged / f"checkpoint-{update}"
                checkpoints.publish(staged, self.run_folder, update, keep=self.config.keep)
        self.accelerator.wait_for_everyone()
        self._checkpointing = time.perf_counter() - began

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Sharded weights are gathered here, of an adapter only its own; all else is as transformers does it."""
        if not self.is_fsdp_enabled:
            super().save_model(output_dir, _internal_call)
            return
        assert self.model is not None
        state = gathered(self.model)
        if self.args.should_save:
            self._save(output_dir, state_dict=state)

    @contextmanager
    def _staging(self, what: str) -> Iterator[None]:
        """Checkpoints written inside go to a folder that is none yet.

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
                f"{what} could not be written to {self.run_folder}: {reason}; {self._last_checkpoint()}. Make room, or "
                "mend what is wrong there; the same command goes on."
            ) from error
        finally:
            self._staged = None
            if self.is_world_process_zero():
                checkpoints.drop_staging(self.run_folder)

    def save_final(self, name: str = "final") -> Path:
        """Puts the trained model into the run's folder, whole or not at all.

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

    def train_from_last_checkpoint(self, store: RolloutStore) -> None:
        """Trains to the end, from the newest whole checkpoint if there is one.

        Raises:
            AgentFlowError: what ended the run, in one sentence.
        """
        kept = checkpoints.checkpoints(self.run_folder)
        done = checkpoints.update_of(kept[-1]) if kept else 0
        if self.is_world_process_zero():
            self._metrics.discard_after(done if kept else -1)
            self._alarms_file.discard_after(done if kept else -1)
            store.discard_from(done // self.config.updates_per_step)
            validations = self.parts.validator.store if self.parts.validator else None
            if validations is not None:
                validations.discard_from(done + 1 if kept else 0)
            for line in read_metrics(self._metrics.path) if self._metrics.path.exists() else ():
                if "loss" in line:  # what is unusual is told by the steps before
                    self._alarms.check(line)
        self.accelerator.wait_for_everyone()
        self.args.eval_on_start = self.args.eval_on_start and not kept  # a checkpoint's validation stands
        random.seed(self.config.seed)
        self.train(resume_from_checkpoint=str(kept[-1]) if kept else None)

    def close(self) -> None:
        """Stops rollouts that are under way, and the engine."""
        if self._ahead is not None:
            self._ahead.work.cancel()
        self._runner.run(self.parts.engine.aclose())
        self._runner.close()

    def _group_figures(self, made: Assembled, groups: Sequence[Group]) -> dict[str, float]:
        spread = [group.rewards for group in groups if len(group.rewards) > 1]
        solved = sum(max(rewards) >= 1.0 for rewards in spread)
        return {
            "zero_variance": made.zero_variance / max(1, len(groups)),
            "skipped_groups": made.skipped,
            "solved_once": solved / max(1, len(spread)),
        }


def arguments(config: FlowGRPOConfig) -> TrainingArguments:
    """transformers' settings of a run."""
    validates = config.validation_every > 0
    return TrainingArguments(
        output_dir=config.out,
        max_steps=config.steps * config.updates_per_step,
        per_device_train_batch_size=1,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_scheduler,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        gradient_checkpointing=config.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if config.gradient_checkpointing else None,
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
        ddp_find_unused_parameters=False,
    )


def _only(items: Sequence[int]) -> dict[str, int]:
    return {"update": items[0]}
