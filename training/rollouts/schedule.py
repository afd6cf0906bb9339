"""The tasks of each step."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from evals.task import Task
from graph.errors import ConfigError
from tools.counts import many
from training.rollouts.records import seed_from


class TaskSource(Protocol):
    """The tasks of each step."""

    def of_step(self, step: int, round_: int = 0) -> list[Task]:
        """The tasks of a step, or of a further round of the same step."""


class MixedSchedule:
    """Every epoch in another order, no task twice in a step, a function of the seed alone.

    Where the number of tasks does not divide by the step's, the rest of an epoch waits for the next shuffle.

    Args:
        tasks: of the run.
        per_step: number of tasks a step takes.
        seed: of the order.
        steps: of the run.

    Raises:
        ConfigError: there are fewer tasks than a step takes.
    """

    def __init__(self, tasks: Sequence[Task], per_step: int, seed: int, steps: int) -> None:
        if len(tasks) < per_step:
            raise ConfigError(
                f"A step takes {many(per_step, 'task')}, and `tasks` has only {len(tasks)}; lower "
                "tasks_per_step or add tasks."
            )
        self._tasks = list(tasks)
        self._per_step = per_step
        self._seed = seed
        self._steps = steps

    def of_step(self, step: int, round_: int = 0) -> list[Task]:
        """The tasks of a step; of a further round of the same step others, drawn at random."""
        drawn = self._first(step)
        known = {task.id for task in drawn}
        for further in range(1, round_ + 1):
            rest = [task for task in self._pool(step) if task.id not in known]
            chance = random.Random(seed_from(self._seed, "refill", step, further))
            drawn = chance.sample(rest, min(self._per_step, len(rest)))
            known |= {task.id for task in drawn}
        return drawn

    def _pool(self, step: int) -> Sequence[Task]:
        """The tasks that a step may take."""
        return self._tasks

    def _first(self, step: int) -> list[Task]:
        epoch, place = divmod(step, len(self._tasks) // self._per_step)
        order = list(self._tasks)
        random.Random(seed_from(self._seed, "epoch", epoch)).shuffle(order)
        return order[place * self._per_step : (place + 1) * self._per_step]


class EasyFirstSchedule(MixedSchedule):
    """The easy tasks first: a step draws from a share of the tasks that grows until half of the run, then from all.

    Raises:
        ConfigError: there are fewer tasks than a step takes, or all are equally difficult.
    """

    def __init__(self, tasks: Sequence[Task], per_step: int, seed: int, steps: int) -> None:
        super().__init__(tasks, per_step, seed, steps)
        order = list(self._tasks)
        random.Random(seed_from(seed, "equally difficult")).shuffle(order)
        self._tasks = sorted(order, key=difficulty)
        if difficulty(self._tasks[0]) == difficulty(self._tasks[-1]):
            raise ConfigError(
                "schedule: by_difficulty needs tasks that differ in difficulty: give each a number as `difficulty` in "
                "its `metadata`, or its `steps`."
            )

    def _pool(self, step: int) -> Sequence[Task]:
        share = min(1.0, 2 * (step + 1) / self._steps)
        return self._tasks[: max(self._per_step, math.ceil(share * len(self._tasks)))]

    def _first(self, step: int) -> list[Task]:
        return random.Random(seed_from(self._seed, "step", step)).sample(self._pool(step), self._per_step)


def difficulty(task: Task) -> float:
    """How difficult a task is: what its metadata says, else the number of its steps, else 1."""
    known = task.metadata.get("difficulty")
    if isinstance(known, int | float):
        return float(known)
    return float(len(task.metadata.get("steps") or ()) or 1)


MIXED, BY_DIFFICULTY = "mixed", "by_difficulty"
SCHEDULES: Mapping[str, Callable[[Sequence[Task], int, int, int], TaskSource]] = {
    MIXED: MixedSchedule,
    BY_DIFFICULTY: EasyFirstSchedule,
}
"""By the value of the setting `schedule`."""
