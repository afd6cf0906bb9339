"""Training on stored rollouts: their steps in order, instead of new rollouts.

The sampler of such a rollout is an older policy. Its log-probabilities were captured, so the importance weight of the
current policy to it is known and truncated (`tis_cap`), as for any other difference between sampler and trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from evals.task import Task
from graph.errors import DataError
from training.rollouts.records import Rollout
from training.rollouts.store import read_rollouts


class RolloutArchive:
    """Stored rollouts as source and schedule of a run (`RolloutSource`, `TaskSource`).

    Args:
        path: a folder of rollouts, or one file.

    Raises:
        DataError: there are none, or some hold ids that were not sampled.
    """

    def __init__(self, path: Path) -> None:
        self._steps: dict[int, list[Rollout]] = {}
        for rollout in read_rollouts(path):
            if not rollout.captured:
                raise DataError(
                    f"Rollout {rollout.id} of {path} was made from text and has no log-probabilities of its own; "
                    "train on it with training.sft."
                )
            self._steps.setdefault(rollout.step, []).append(rollout)
        if not self._steps:
            raise DataError(f"{path} holds no rollout; name a folder of rollouts that has some.")
        self._order = sorted(self._steps)
        self.group_size = max(rollout.index for step in self._steps.values() for rollout in step) + 1

    def refuse_other_tokens(self, vocabulary: int) -> None:
        """Refuses rollouts with token ids outside this model's vocabulary.

        Raises:
            DataError: a rollout holds an id that is not below `vocabulary`.
        """
        for rollout in (rollout for step in self._steps.values() for rollout in step):
            largest = max((max(turn.prompt_ids + turn.completion_ids) for turn in rollout.turns), default=0)
            if largest >= vocabulary:
                raise DataError(
                    f"Rollout {rollout.id} holds the token {largest}, but the model knows only {vocabulary}: it was "
                    "made with another model; set `model` to that one."
                )

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self._order)

    def of_step(self, step: int, round_: int = 0) -> list[Task]:
        """The tasks of a step, counted from 0 whatever its number was."""
        if round_ or step >= self.steps:
            return []
        return list({rollout.task.id: rollout.task for rollout in self._steps[self._order[step]]}.values())

    async def collect(
        self,
        step: int,
        tasks: Sequence[Task],
        *,
        on_rollout: Callable[[Rollout], None] | None = None,
        spares: Sequence[Sequence[Task]] = (),
    ) -> list[Rollout]:
        """The rollouts of these tasks, renumbered to the step that trains on them."""
        wanted = {task.id for task in tasks}
        found = [replace(rollout, step=step) for rollout in self._steps[self._order[step]] if rollout.task.id in wanted]
        for rollout in found:
            if on_rollout is not None:
                on_rollout(rollout)
        return found
