"""One step before its update: roll out, refill, assign credit, lay out micro-batches.

With `overlap`, the next step's rollouts start as soon as this step's have ended, with the policy of that moment
(`training.rollouts.background`), and run during the update.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, takewhile
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from torch import Tensor, nn

from evals.loop_thread import LoopThread
from evals.task import Task
from graph.errors import ModelError
from tools.counts import many
from training.algo.credit import varies
from training.engines.base import Engine
from training.flow_grpo.config import FlowGRPOConfig
from training.flow_grpo.micro_batches import Room
from training.flow_grpo.progress import Progress
from training.rollouts.background import RolloutSource, Underway
from training.rollouts.breakdown import breakdown
from training.rollouts.collector import Collector
from training.rollouts.figures import step_metrics
from training.rollouts.pool import Pool, PooledRollouts
from training.rollouts.records import Group, Rollout, failures_by_kind, groups_of, rollout_from_dict
from training.rollouts.schedule import TaskSource
from training.rollouts.store import RolloutStore
from training.run.checkpoints import newest_in_words
from training.update.assemble import Assembled, assemble
from training.update.packing import MicroBatch, deal, pack, pad, places_of_terms
from training.update.packing_check import verify_packing
from training.update.rows import IntArray, Row

logger = logging.getLogger(__name__)


@dataclass
class Parts:
    """The parts a trainer is built from."""

    engine: Engine
    source: RolloutSource
    """Of training rollouts."""
    schedule: TaskSource
    store: RolloutStore
    """Where the rollouts of training go."""
    room: Room
    """The device, as it was before the policy was loaded."""
    validator: Collector | PooledRollouts | None = None
    """Collects validation rollouts: one run per task, at the validation temperature."""
    validation: Sequence[Task] = ()
    tasks: int = 0
    """Number of training tasks."""
    reference: nn.Module | None = None
    """A frozen copy of the policy if all weights are trained; with an adapter, its base model is the reference."""
    progress: Progress | None = None
    pool: Pool | None = None
    """The processes that roll out, where this one does not."""


@dataclass
class Step:
    """The rollouts of a step as rows, and the micro-batches that are made of them."""

    rows: list[Row]
    """With loss terms, of all processes."""
    figures: dict[str, float]
    batches: list[MicroBatch] = field(default_factory=list)
    """This process's share, once laid out."""
    old_logprobs: list[Tensor] | None = None
    """Under the policy before the step's first update, one tensor per batch; needed for several updates per step."""


class Steps:
    """Makes one step after another. Every process of a run makes its share of each.

    Args:
        config: settings of the run.
        parts: engine, sources of rollouts and tasks.
        device: of this process.
        packed: whether micro-batches may be packed by prefix tree; the first one is checked.
        process: number of this process.
        processes: number of processes.
    """

    def __init__(
        self,
        config: FlowGRPOConfig,
        parts: Parts,
        device: torch.device,
        *,
        packed: bool,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.config = config
        self.parts = parts
        self._packed, self._packing_checked = packed, not packed
        self._process, self._processes = process, processes
        self._loop = LoopThread(partial(_choose, device))
        self._device = device
        self._made_room = False
        self._rollout_seconds = 0.0
        self._ahead: Underway | None = None  # rollouts of the next step
        self._ahead_figures: dict[str, float] | None = None  # of the engine, if a validation follows these

    def make(self, number: int, version: int) -> Step:
        """Rolls a step out.

        Args:
            number: which step.
            version: updates that the policy has seen.

        Raises:
            ModelError: the rollouts have nothing to learn from.
            AgentFlowError: every rollout would fail alike.
        """
        began = time.perf_counter()
        if self._ahead is None:
            self._sync(version)
        synced = time.perf_counter()
        self._rollout_seconds = 0.0
        rollouts, groups = self._roll_out(number)
        rollout_seconds, ended = self._rollout_seconds, time.perf_counter()
        engine_figures = self._ahead_figures or self._engine_figures(rollout_seconds)
        self._ahead_figures = None
        if self.config.overlap:
            engine_figures |= {"seconds/waited": ended - synced}
            self._roll_out_ahead(number + 1, version)
        else:
            self._loop.run(self.parts.engine.make_room())
            self._made_room = True
        assembled = self._assemble(groups)
        self._refuse_empty(number, assembled, rollouts)
        roles = self.config.several_roles
        figures = step_metrics(rollouts, version=version, roles=roles) | _group_figures(assembled, groups)
        figures |= _role_figures(assembled, roles)
        figures |= {"seconds/sync": synced - began, "seconds/rollout": rollout_seconds} | engine_figures
        if figures.get("ideal_seconds"):
            figures["stretch"] = rollout_seconds / figures["ideal_seconds"]
        rows = [row for row in assembled.rows if len(row.terms)]
        if figures.get("ended_by/time") == 1.0 and assembled.zero_variance + assembled.skipped == len(groups):
            rows, figures["skipped_update"] = [], 1.0  # without a gradient the optimizer leaves every weight as it is
        return Step(rows, figures)

    def lay_out(self, step: Step, model: nn.Module, budget: int) -> None:
        """Makes a step's micro-batches; what is known of its terms moves along where they are made anew.

        Args:
            step: filled in here.
            model: the policy, as the trainer wrapped it; the first micro-batch ever is checked with it.
            budget: tokens per micro-batch.
        """
        if not self._packing_checked and step.rows:
            check = verify_packing(model, step.rows, budget)
            self._packing_checked = True
            if check.reason:
                self._packed = False
                logger.warning(check.reason)
        batches = (pack if self._packed else pad)(step.rows, budget)
        own = deal(batches, self._processes)[self._process]
        if step.old_logprobs is not None:
            known = torch.cat(step.old_logprobs)
            step.old_logprobs = [known[places] for places in places_of_terms(step.batches, own)]
        step.batches = own
        step.figures |= _token_figures(batches)

    def validate(self, version: int) -> dict[str, float]:
        """The figures of one run of each held-out task; infrastructure failures count as wrong.

        Args:
            version: number of updates of the policy.
        """
        assert self.parts.validator is not None
        began = time.perf_counter()
        ahead, self._ahead = self._ahead, None
        if ahead is not None:  # they need the current policy, so the validation waits for them
            _, seconds = self._loop.wait(ahead.work)
            self._ahead_figures = self._engine_figures(seconds)
        self._sync(version)
        rollouts = self._collect(self.parts.validator, version, self.parts.validation)
        self._ahead = ahead
        if self.config.deterministic:  # as a run that resumes here would do
            self._loop.run(self.parts.engine.sync(version))
        figures = step_metrics(rollouts, version=version, roles=self.config.several_roles) | breakdown(rollouts)
        figures["pass_rate"] = figures.pop("solved", 0.0)
        figures["seconds"] = time.perf_counter() - began
        return figures | self._engine_figures(figures["seconds"])

    def close(self) -> None:
        """Stops running rollouts and the engine."""
        if self._ahead is not None:
            self._ahead.work.cancel()
        if self.parts.pool is not None:
            self._loop.run(self.parts.pool.aclose())
        self._loop.run(self.parts.engine.aclose())
        self._loop.close()

    # Rollouts

    def _roll_out(self, number: int) -> tuple[list[Rollout], list[Group]]:
        """The rollouts of a step, and its training groups."""
        tasks, spares = self._tasks(number)
        rollouts = self._collect(self.parts.source, number, tasks, spares)
        groups = list(groups_of(rollouts))
        first = {task.id for task in tasks}
        wanted = sum(group.task.id in first for group in groups)
        if self.config.refill:
            # Groups without variance fill the rest, so that a fully solved step continues.
            groups = sorted(groups, key=lambda group: not varies(group.rewards))[:wanted]
        return rollouts, groups

    def _tasks(self, number: int) -> tuple[list[Task], list[list[Task]]]:
        """A step's tasks, and those that replace groups without variance, a list for each round."""
        rounds = (self.parts.schedule.of_step(number, round_) for round_ in range(1 + self.config.refill))
        tasks, *spares = takewhile(len, rounds)  # a round without tasks is the last: none are left
        return tasks, spares

    def _collect(
        self, source: RolloutSource, number: int, tasks: Sequence[Task], spares: Sequence[Sequence[Task]] = ()
    ) -> list[Rollout]:
        """The rollouts of all processes, in order of the tasks; each process makes its share."""
        underway, self._ahead = self._ahead or self._begin(source, number, tasks, spares), None
        if progress := self.parts.progress:
            announce = progress.validating if source is self.parts.validator else progress.rolling_out
            announce(number, underway.total)
            underway.listen(progress.rolled_out)
        own, seconds = self._loop.wait(underway.work)
        self._rollout_seconds += seconds
        if self._processes == 1:
            return own
        every = [rollout_from_dict(plain) for plain in gather_object([rollout.as_dict() for rollout in own])]
        place = {task.id: place for place, task in enumerate(chain(tasks, *spares))}
        return sorted(every, key=lambda rollout: (place[rollout.task.id], rollout.index))

    def _begin(
        self, source: RolloutSource, number: int, tasks: Sequence[Task], spares: Sequence[Sequence[Task]]
    ) -> Underway:
        """Starts this process's share of some rollouts."""
        share, *further = [list(round_)[self._process :: self._processes] for round_ in (tasks, *spares)]
        return Underway(self._loop, source, number, share, further)

    def _roll_out_ahead(self, number: int, version: int) -> None:
        """Starts the rollouts of the next step with the current policy, one step older than the one they will train."""
        if number < self.config.steps:
            self._sync(version)
            self._ahead = self._begin(self.parts.source, number, *self._tasks(number))

    def _sync(self, version: int) -> None:
        """Makes the engine sample from the current weights."""
        if self._made_room and self._device.type == "cuda":
            torch.cuda.empty_cache()  # memory that the update no longer needs
        if self._made_room or self.parts.engine.version != version:
            self._made_room = False
            self._loop.run(self.parts.engine.sync(version))

    def _engine_figures(self, seconds: float) -> dict[str, float]:
        figures = self._loop.run(self.parts.engine.figures())
        named = {f"engine/{name}": value for name, value in figures.items()}
        if "sampled_tokens" in figures:
            named["tokens_per_second"] = figures["sampled_tokens"] / max(seconds, 1e-9)
        return named

    # Credit and layout

    def _assemble(self, groups: Sequence[Group]) -> Assembled:
        return assemble(
            groups,
            temperature=self.config.temperature,
            estimator=self.config.estimator,
            grouping=self.config.grouping,
            credit=self.config.credit,
            reduction=self.config.reduction,
            max_tokens=self.config.max_tokens,
            keep_zero_variance=self.config.beta > 0,
        )

    def _refuse_empty(self, number: int, assembled: Assembled, rollouts: Sequence[Rollout]) -> None:
        """Refuses a step with nothing to learn from: it would look like training."""
        if not assembled.rollouts:
            kinds = ", ".join(f"{kind} ({count})" for kind, count in failures_by_kind(rollouts).items()) or "none"
            first = next((f" The first: {r.failure['message']}" for r in rollouts if r.failure), "")
            finished = sum(rollout.reward is not None for rollout in rollouts)
            problem = (
                f"The {many(finished, 'finished rollout')} of step {number + 1} cannot be compared: its groups have "
                "fewer than two rollouts"
                if finished
                else f"No rollout of step {number + 1} can be used"
            )
            advice = (
                "Replay several runs of each question; `training.sft` learns from single ones."
                if self.config.replay and finished
                else f"Fix that and run the same command again; {newest_in_words(Path(self.config.out))}."
            )
            raise ModelError(f"{problem}; failures: {kinds}.{first} {advice}")
        if not any(rollout.turns for rollout in rollouts):
            who = " and ".join(self.config.roles) or "policy"
            raise ModelError(
                f"The {who} was never asked in the {many(len(rollouts), 'rollout')} of step {number + 1}, so there "
                "is nothing to learn; check `role` and the settings of the agent."
            )


def _choose(device: torch.device) -> None:
    """Makes a GPU the current one of this thread: what an engine sends to other processes has to leave from it."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def _group_figures(assembled: Assembled, groups: Sequence[Group]) -> dict[str, float]:
    comparable = [group.rewards for group in groups if len(group.rewards) > 1]
    solved = sum(max(rewards) >= 1.0 for rewards in comparable)
    return {
        "zero_variance": assembled.zero_variance / max(1, len(groups)),
        "skipped_groups": assembled.skipped,
        "solved_once": solved / max(1, len(comparable)),
    }


def _token_figures(batches: Sequence[MicroBatch]) -> dict[str, float]:
    return {
        "tokens/trained": sum(len(batch.terms) for batch in batches),
        "tokens/computed": sum(batch.tokens for batch in batches),
        "tokens/rows": sum(batch.raw_tokens for batch in batches),
    }


def _role_figures(assembled: Assembled, roles: Sequence[str]) -> dict[str, float]:
    """Each role's terms, and the advantages of its turns; the reward is common to all."""
    figures: dict[str, float] = {}
    for role in roles:
        rows = [row for row in assembled.rows if row.role == role]
        values = np.concatenate([[], *(row.terms.advantages[_first_terms(row)] for row in rows)])
        if len(values):
            figures |= {f"advantage_mean/{role}": float(values.mean()), f"advantage_std/{role}": float(values.std())}
        figures[f"trained_tokens/{role}"] = sum(len(row.terms) for row in rows)
    return figures


def _first_terms(row: Row) -> IntArray:
    """Where the terms of each of a row's turns begin."""
    return np.unique(row.terms.turns, return_index=True)[1]
