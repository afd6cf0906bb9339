"""A training step's rollouts, credit and layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from evals.task import Task
from training.engines.base import Engine
from training.flow_grpo.progress import Progress
from training.rollouts.collector import Collector
from training.rollouts.records import Group
from training.rollouts.replayed import Replayed
from training.rollouts.tasks import Schedule
from training.update.packing import MicroBatch


@dataclass
class Parts:
    """What a trainer is put together from."""

    engine: Engine
    collector: Collector | Replayed
    schedule: Schedule | Replayed
    validator: Collector | None = None
    """Collects validation rollouts: one run a task, at the validation's temperature."""
    validation: Sequence[Task] = ()
    reference: nn.Module | None = None
    """A frozen copy, where all weights are trained; with an adapter it is the policy without it."""
    progress: Progress | None = None


@dataclass
class Step:
    """The rollouts of a step, laid out for its updates."""

    batches: list[MicroBatch]
    old: list[Tensor] | None = None
    figures: dict[str, float] = field(default_factory=dict)


def varies(group: Group) -> bool:
    """Whether the group's rewards differ, so that it teaches something."""
    return len(set(group.rewards)) > 1
