"""The learning rate of each update, with the warm-up that the settings ask for, and the GPU of a process."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn
from transformers import TrainingArguments

from training.run.trainer import WholeCheckpoints


def rates(folder: Path, schedule: str, warmup: int, updates: int = 8) -> list[float]:
    arguments = TrainingArguments(
        output_dir=str(folder), use_cpu=True, max_steps=updates, learning_rate=1.0, lr_scheduler_type=schedule,
        warmup_steps=warmup, report_to="none",
    )  # fmt: skip
    trainer = WholeCheckpoints(run_folder=folder, keep=1, model=nn.Linear(2, 2), args=arguments, train_dataset=[0])
    trainer.create_optimizer_and_scheduler(updates)
    optimizer, steps = trainer.optimizer, trainer.lr_scheduler
    assert optimizer is not None
    assert steps is not None
    seen = []
    for _ in range(updates):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        steps.step()
    return seen


@pytest.mark.parametrize("schedule", ["constant", "constant_with_warmup", "linear", "cosine"])
def test_every_schedule_warms_up_and_its_first_update_changes_something(tmp_path: Path, schedule: str) -> None:
    warmed = rates(tmp_path, schedule, 3)
    assert warmed[:4] == [0.25, 0.5, 0.75, 1.0]
    plain = rates(tmp_path, schedule, 0)
    assert plain[0] == 1.0
    if schedule.startswith("constant"):
        assert (plain, warmed[3:]) == ([1.0] * 8, [1.0] * 5)
    else:
        assert warmed[3:] == sorted(warmed[3:], reverse=True)
        assert 0 < warmed[-1] < 1


def test_a_resumed_run_goes_on_in_its_warm_up(tmp_path: Path) -> None:
    arguments = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, max_steps=8, learning_rate=1.0, lr_scheduler_type="constant",
        warmup_steps=3, report_to="none",
    )  # fmt: skip
    made = []
    for _ in range(2):
        trainer = WholeCheckpoints(
            run_folder=tmp_path, keep=1, model=nn.Linear(2, 2), args=arguments, train_dataset=[0]
        )
        trainer.create_optimizer_and_scheduler(8)
        assert trainer.optimizer is not None
        assert trainer.lr_scheduler is not None
        made.append((trainer.optimizer, trainer.lr_scheduler))
    (first, schedule), (second, resumed) = made
    first.step()
    schedule.step()
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    second.step()
    resumed.step()
    assert second.param_groups[0]["lr"] == 0.75


def test_a_process_that_sees_several_gpus_trains_on_one(tmp_path: Path) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    assert arguments.n_gpu == 0
    arguments._n_gpu = 2
    model = nn.Linear(2, 2)
    trainer = WholeCheckpoints(run_folder=tmp_path, keep=1, model=model, args=arguments, train_dataset=[0])
    assert trainer._wrap_model(model) is model  # type: ignore[no-untyped-call]
    assert trainer._train_batch_size == arguments.per_device_train_batch_size
