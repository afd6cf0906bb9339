"""What a training run tells on the console."""

from __future__ import annotations

import json
import re
from pathlib import Path
from unittest.mock import Mock

import pytest

from evals.task import Task
from tests.training.support.toy import toy_config
from training.flow_grpo import progress
from training.flow_grpo.__main__ import main
from training.flow_grpo.config import FlowGRPOConfig
from training.flow_grpo.progress import ConsoleProgress, RunFacts, banner, in_words, next_steps
from training.rollouts.records import Rollout

FACTS = RunFacts(
    weights=1_543_000_000,
    trained=18_460_000,
    tasks=512,
    held_out=64,
    device="NVIDIA H100",
    processes=2,
    engine="vllm",
    updates=0,
    memory="micro-batches of 8,192 tokens",
)


def config(**settings: object) -> FlowGRPOConfig:
    values = {"model": "m", "out": "runs/mine", "tasks": "t.jsonl", "steps": 10, **settings}
    return FlowGRPOConfig(**values)  # type: ignore[arg-type]


def test_the_banner_says_what_is_trained_on_what_and_where() -> None:
    url = "http://me:secret@gpu:8000/v1"
    shown = banner(config(engine="vllm", vllm_url=url), FACTS)
    for words in ("1.54 billion", "rank 16, 18.5 million", "512 of t.jsonl, 64 held out", "NVIDIA H100, 2 processes"):
        assert words in shown
    assert "engine: vllm at http://gpu:8000/v1" in shown
    assert "secret" not in shown
    assert "engine: vllm\n" in banner(config(), FACTS)  # which `auto` chose
    assert "trained: all weights" in banner(config(lora_rank=0), FACTS)


def test_a_line_says_which_step_of_how_many_and_how_long_the_others_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    console = ConsoleProgress(config(updates_per_step=2))
    console.started(RunFacts(**{**vars(FACTS), "updates": 4}))  # goes on after step 2
    clock[0] = 120.0
    console.logged(5, {"loss": 0.0, "reward": 0.5})
    console.logged(20, {"loss": 0.0})
    console.logged(20, {"eval/pass_rate": 0.25, "eval/rollouts": 64.0})
    lines = capsys.readouterr().err.splitlines()
    assert "resumed after update 4" in lines[2]
    assert lines[-3:] == [
        "step 3 of 10, update 1 of 2, 30 min left: reward 0.5",
        "step 10 of 10, update 2 of 2: ",
        "validation after update 20: 25.0% of 64 right",
    ]


def test_a_log_is_told_what_goes_on_before_the_first_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress.threading, "Thread", Mock())  # its clock does not wait for this one

    def lines_at(seconds: float) -> list[str]:
        clock[0] = seconds
        console.tell_again()
        return capsys.readouterr().err.splitlines()

    with ConsoleProgress(config()) as console:
        assert lines_at(1.0) == []
        assert lines_at(30.0) == ["  loading the model, the tools and the tasks, 30 s"]
        assert lines_at(60.0) == []
        console.rolling_out(0, 32)
        console.rolled_out(Rollout("0/t/0", Task(id="t", question="?", answers=()), 0, 0, 0, reward=0.5))
        assert lines_at(70.0) == ["  step 1 of 10: rollouts 1 of 32, reward 0.50, 0.0 turns, 10 s"]
        assert lines_at(120.0) == []
        assert len(lines_at(131.0)) == 1


def test_a_validation_of_runs_without_time_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleProgress(config()).logged(0, {"eval/pass_rate": 0.0, "eval/rollouts": 8.0, "eval/ended_by/time": 1.0})
    first, second = capsys.readouterr().err.splitlines()
    assert first == "validation after update 0: 0.0% of 8 right"
    assert "raise max_seconds" in second


def test_one_of_a_kind_is_told_in_the_singular(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "10 of 1 task x 2 runs" in banner(config(tasks_per_step=1, group_size=2), FACTS)
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    console = ConsoleProgress(config())
    console.updating(1)
    clock[0] = 10.0
    console.tell_again()
    assert capsys.readouterr().err == "  update: 1 micro-batch, 10 s\n"


def test_texts_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleProgress(config()).warned("[/] is no markup here")
    assert capsys.readouterr().err == "warning: [/] is no markup here\n"


@pytest.mark.parametrize(
    ("seconds", "words"), [(12.4, "12 s"), (100.0, "2 min"), (3600.0, "60 min"), (7500.0, "2 h 5 min")]
)
def test_times_are_short(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_the_end_says_how_to_go_on() -> None:
    shown = next_steps(config())
    assert "training.validate --config runs/mine/config.yaml --checkpoint runs/mine --validation FILE" in shown
    assert "python -m evals view runs/mine" in shown
    assert "--validation" not in next_steps(config(validation="v.jsonl"))


def test_a_run_tells_all_of_it(tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps(toy_config(tmp_path, policy_folder, steps=2).as_dict()))
    assert main(["--config", str(settings)]) == 0
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert "16 of " in next(line for line in lines if line.startswith("tasks "))
    steps = [line for line in lines if line.startswith("step ")]
    assert [re.sub(r"\d+ s", "N s", line.partition(": reward ")[0]) for line in steps] == [
        "step 1 of 2, N s left",
        "step 2 of 2",
    ]
    assert lines[-1] == f"look    python -m evals view {tmp_path / 'run'}"
    assert shown.out.startswith("2 updates, ")
