"""Rollouts on disk: which of a run's are read where it was made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from evals.task import Task
from training.rollouts.records import Rollout
from training.rollouts.store import RolloutStore, read_rollouts

TASK = Task(id="t", question="?", answers=("1",))
FAILED = Rollout("0/t/0", TASK, 0, 0, 0, failure={"kind": "unavailable", "message": "."})
RIGHT, WRONG = (Rollout("0/t/0", TASK, 0, 0, 0, reward=reward) for reward in (1.0, 0.0))
OTHER = Rollout("0/t/1", TASK, 0, 1, 0, reward=1.0)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ([FAILED, FAILED], FAILED),
        ([FAILED, RIGHT], RIGHT),
        ([RIGHT, FAILED], RIGHT),
        ([WRONG, RIGHT, FAILED], RIGHT),
    ],
)
def test_of_a_run_that_was_made_again_the_last_success_is_read(
    written: list[Rollout], read: Rollout, tmp_path: Path
) -> None:
    store = RolloutStore(tmp_path)
    for rollout in [written[0], OTHER, *written[1:]]:
        store.append(rollout)
    kept = [(rollout.id, rollout.reward) for rollout in read_rollouts(tmp_path)]
    assert kept == [(read.id, read.reward), (OTHER.id, OTHER.reward)]
