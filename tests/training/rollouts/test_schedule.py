"""Which tasks a step gets."""

from __future__ import annotations

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.task import Task
from graph.errors import ConfigError
from training.rollouts.schedule import EasyFirstSchedule, MixedSchedule, difficulty


def test_an_epoch_gives_every_task_once_in_another_order_than_the_last() -> None:
    tasks = [Task(id=str(n), question=f"{n}?", answers=("x",)) for n in range(12)]
    schedule = MixedSchedule(tasks, 4, 0, 10)
    epochs = [[task.id for step in range(3) for task in schedule.of_step(3 * epoch + step)] for epoch in (0, 1)]
    assert all(sorted(epoch, key=int) == [task.id for task in tasks] for epoch in epochs)
    assert epochs[0] != epochs[1]
    first, second, third = (schedule.of_step(1, round_) for round_ in (0, 1, 2))
    assert len({task.id for task in first + second + third}) == 12  # a refill takes none that the step has had
    assert schedule.of_step(1, 3) == []
    assert schedule.of_step(1, 40) == []  # each round is drawn once, not by every later one again


def graded(count: int) -> list[Task]:
    return [
        Task(id=str(n), question=f"{n}?", answers=("x",), metadata={"steps": [{}] * (1 + n % 3)}) for n in range(count)
    ]


@given(st.integers(0, 50), st.integers(2, 30))
def test_easy_tasks_come_first_and_all_from_half_of_the_run_on(seed: int, steps: int) -> None:
    schedule = EasyFirstSchedule(graded(60), 8, seed, steps)
    made = [schedule.of_step(step) for step in range(steps)]
    assert all(len({task.id for task in step}) == 8 for step in made)
    assert made == [EasyFirstSchedule(graded(60), 8, seed, steps).of_step(step) for step in range(steps)]
    if steps >= 6:
        assert {difficulty(task) for task in made[0]} == {1.0}
    later = [task for step in range(steps, steps + 20) for task in schedule.of_step(step)]
    assert fmean(difficulty(task) for task in later) == pytest.approx(2.0, abs=0.4)
    refill = schedule.of_step(0, 1)
    assert not {task.id for task in refill} & {task.id for task in made[0]}


def test_a_tasks_own_difficulty_wins_and_equal_ones_are_refused() -> None:
    assert difficulty(Task(id="a", question="?", answers=("x",), metadata={"difficulty": 7, "steps": [{}]})) == 7.0
    assert difficulty(Task(id="a", question="?", answers=("x",))) == 1.0
    with pytest.raises(ConfigError, match="differ in difficulty"):
        EasyFirstSchedule([Task(id=str(n), question="?", answers=("x",)) for n in range(9)], 2, 0, 5)
