"""A run in a few lines: validations paired by task, reward, speed, and seconds by phase."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evals.task import Task
from training.rollouts.records import Rollout
from training.rollouts.store import RolloutStore
from training.summary import main, summary


def run_folder(path: Path, right_before: set[int], right_after: set[int]) -> Path:
    store = RolloutStore(path / "validations")
    for update, right in ((0, right_before), (4, right_after)):
        for n in range(40):
            task = Task(id=f"v{n}", question="Q?", answers=("x",))
            outcome = float(n in right)
            earned = {"outcome": outcome, "format": 0.1}
            made = {"reward": outcome + 0.1, "rewards": earned} if n else {"failure": {"kind": "unavailable"}}
            store.append(Rollout(f"{update}/v{n}/0", task, update, 0, 0, **made))  # type: ignore[arg-type]
    steps = [
        {"update": n + 1, "loss": 0.1, "reward": 0.2 * (n + 1), "tokens_per_second": 50.0, "tokens/rows": 300.0,
         "seconds/rollout": 6.0, "seconds/update": 3.0, "seconds/sync": 0.5}
        for n in range(4)
    ]  # fmt: skip
    lines = [{"update": 0, "eval/seconds": 7.0}, *steps, {"update": 4, "eval/seconds": 8.0}]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_what_has_changed_is_told_with_its_interval(tmp_path: Path) -> None:
    told = summary(run_folder(tmp_path, set(range(10)), set(range(30))))
    assert "4 updates" in told
    assert "reward 0.300 in the first 2 updates, 0.700 in the last 2" in told
    # The first task met an infrastructure failure both times, and counts as wrong.
    assert "22.5% of 40 right after update 0, 72.5% after update 4: +50.0% (paired, 95 % interval +3" in told
    assert "50 tokens/s sampled while rolling out, 100 tokens/s of rows in the update" in told
    assert "seconds: rollout 24.0, validation 15.0, update 12.0, sync 2.0" in told


def test_a_pass_rate_of_runs_without_time_is_explained(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, set(), set())
    assert "time was over" not in summary(folder)
    store = RolloutStore(folder / "validations")
    for n in range(40):
        task = Task(id=f"v{n}", question="Q?", answers=("x",))
        store.append(Rollout(f"5/v{n}/0", task, 5, 0, 0, reward=0.0, ended_by="time"))
    assert "0.0% after update 5" in summary(folder)
    assert "100% of the runs ended because their time was over" in summary(folder)


def test_what_is_damaged_is_left_out(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, set(), set())
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("null\n[1]\n" + "9" * 5000 + "\n")
    for path in (folder / "validations").iterdir():
        path.write_text("")
    told = summary(folder)
    assert "4 updates" in told
    assert "held-out" not in told
    for path in (folder / "validations").iterdir():
        path.unlink()
    assert summary(folder) == told


def test_a_folder_without_figures_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "metrics.jsonl").write_text('{"update": 0, "eval/seconds": 1.0}\n')
    assert main([str(tmp_path)]) == 2
    assert "holds no step yet" in capsys.readouterr().err
