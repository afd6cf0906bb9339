"""Keys and passwords reach neither rollouts nor settings nor messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from evals.task import Task
from tests.evals.view.samples import turn
from training.flow_grpo.__main__ import main
from training.rollouts.records import Rollout
from training.rollouts.store import RolloutStore, read_rollouts
from training.run.folder import claimed, read_settings

KEY = "sk-0123456789abcdef"


def test_rollouts_are_stored_without_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    memory = [turn("env", "look", KEY) | {"observation": f"OPENAI_API_KEY={KEY}"}]
    task = Task(id="t", question="What is in the environment?", answers=("x",))
    store = RolloutStore(tmp_path)
    store.append(Rollout("0/t/0", task, 0, 0, 0, reward=0.0, answer=KEY, memory=memory))
    assert KEY not in (tmp_path / "step-000000.jsonl").read_text()
    [kept] = read_rollouts(tmp_path)
    assert kept.answer == "[key]"


def test_settings_are_kept_and_shown_without_passwords(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret: dict[str, Any] = {"agent_model": "m@http://me:hunter22@host/v1", "model": "m", "steps": 3}
    with claimed(tmp_path / "run", secret):
        pass
    assert "hunter22" not in (tmp_path / "run" / "config.yaml").read_text()
    assert read_settings(tmp_path / "run")["agent_model"] == "m@http://host/v1"
    with claimed(tmp_path / "run", secret):  # the same settings are the same run's
        pass
    words = ["--model", "m", "--out", "o", "--tasks", "t", "--agent_model", str(secret["agent_model"])]
    assert main([*words, "--show"]) == 0
    shown = capsys.readouterr().out
    assert "hunter22" not in shown
    assert yaml.safe_load(shown)["agent_model"] == "m@http://host/v1"


def test_a_message_names_no_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "m", "--out", str(tmp_path), "--tasks", "t", "--engine", "https://me:hunter22@host/v1"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "`engine`" in told
    assert "hunter22" not in told
