"""An agent of one's own through the commands: trained, resumed and measured, with real sampling and real gradients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from graph.errors import ConfigError
from tests.training.support.toy import toy_tasks
from tests.training.support.toy_agent import calling_policy
from training.flow_grpo.__main__ import main as train
from training.flow_grpo.agent import load_agent
from training.flow_grpo.config import FlowGRPOConfig
from training.rollouts.store import read_rollouts
from training.validate.__main__ import main as validate

MAKE = "tests.training.support.toy_agent:make"


@pytest.fixture(scope="module")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calling_policy(tmp_path_factory.mktemp("policy"))


def test_a_create_agent_is_trained_and_measured(
    tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks, held_out = toy_tasks(tmp_path / "tasks.jsonl"), tmp_path / "held_out.jsonl"
    held_out.write_text('{"id": "v", "question": "Number 99", "answers": ["shout"]}\n')
    run = tmp_path / "run"
    options = {"agent": MAKE, "model": policy_folder, "tasks": tasks, "validation": held_out, "out": run,
               "dtype": "float32", "tasks_per_step": 2, "group_size": 6, "max_tokens": 48, "learning_rate": "3e-3",
               "deterministic": "true", "agent_config": "{recursion_limit: 12}"}  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    assert train([*words, "--steps", "1"]) == 0, capsys.readouterr().err
    assert train([*words, "--steps", "2"]) == 0, capsys.readouterr().err
    lines = [line for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "loss" in line]
    assert len(lines) == 2
    assert any(line["tool/shout"] > 0 and line["tool/double"] > 0 for line in lines)
    assert any(0 < line["pass_rate"] < 1 for line in lines)
    assert {line["rewritten"] for line in lines} == {0.0}
    rollouts = list(read_rollouts(run / "rollouts"))
    assert len(rollouts) == 24
    assert {turn.role for rollout in rollouts for turn in rollout.turns} == {"model"}
    sampled = sum(len(turn.completion_ids) for rollout in rollouts[:12] for turn in rollout.turns)
    assert lines[0]["tokens/trained"] == sampled
    adapters = [load_file(file) for file in sorted(run.glob("checkpoint-*/adapter_model.safetensors"))]
    assert len(adapters) == 2
    assert any(not torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[0])
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["agent_config"] == {"recursion_limit": 12}
    after = tmp_path / "after"
    arguments = ["--config", str(run / "config.yaml"), "--checkpoint", str(run), "--out", str(after)]
    assert validate(arguments) == 0, capsys.readouterr().err
    assert "valid format" in capsys.readouterr().out
    [measured] = read_rollouts(after / "rollouts")
    assert [turn.role for turn in measured.turns][:1] == ["model"]


def settings(**values: Any) -> FlowGRPOConfig:
    return FlowGRPOConfig(**{"model": "m", "out": "o", "tasks": "t", **values})


def test_settings_of_ones_own_agent() -> None:
    assert settings().roles == ("planner",)
    assert settings(agent=MAKE).roles == ()
    assert settings(role="planner,executor").roles == settings(role=["planner", "executor"]).roles
    assert settings(agent=MAKE, agent_config="{recursion_limit: 9}").agent_config == {"recursion_limit": 9}
    for values, words in [
        ({"agent_input": "topic"}, "are of an agent of your own"),
        ({"agent": MAKE, "agent_config": {"user": "me"}}, "configurable, recursion_limit, context"),
        ({"agent": MAKE, "agent_config": "[1, 2"}, "write it as"),
    ]:
        with pytest.raises(ConfigError, match=words):
            settings(**values)


def two(planner: Any, solver: Any) -> Any:
    raise NotImplementedError


PLAIN: dict[str, int] = {}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"agent": "my_agent"}, "no import path"),
        ({"agent": f"{__name__}:nothing"}, "cannot be imported: AttributeError"),
        ({"agent": f"{__name__}:PLAIN"}, r"is a dict.*def make\(model\)"),
        ({"agent": f"{__name__}:two", "role": "planner"}, "role solver.*agent_model"),
        ({"agent": f"{__name__}:two"}, "say in `role`"),
        ({"agent": MAKE, "tools": ["python"]}, "`tools` applies to our graph only, not to the agent .*leave it out"),
        ({"agent": MAKE, "max_turns": 2}, "`max_turns` applies to our graph only"),
        ({"agent": MAKE, "verify": "rules"}, "`verify` applies to our graph only"),
        ({"agent": MAKE, "direct_arguments": True}, "`direct_arguments` applies to our graph only"),
        ({"agent": "http", "agent_command": "true", "max_result_chars": 9}, "`max_result_chars` .* not to agent: http"),
        ({"agent": MAKE, "agent_resume": f"{__name__}:nobody"}, "cannot be imported"),
        ({"agent": MAKE, "role": "boss"}, "no role 'boss'"),
    ],
)
def test_what_is_wrong_with_an_agent_is_said_in_a_sentence(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_agent(settings(**values), asks=False)


def test_settings_that_say_what_holds_anyway_are_no_mistake() -> None:
    usual = settings()
    values = {name: getattr(usual, name) for name in ("max_turns", "verify", "checks", "tools")}
    assert load_agent(settings(agent=MAKE, max_seconds=5.0, **values), asks=False) is not None


def test_a_module_that_is_broken_names_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_agent.py").write_text("def make(model):\n    return oops(\n")
    with pytest.raises(ConfigError, match=r"SyntaxError \(broken_agent.py, line 2\)"):
        load_agent(settings(agent="broken_agent:make"), asks=False)
    (tmp_path / "late_agent.py").write_text("import nothing_like_this\n")
    with pytest.raises(ConfigError, match=r"ModuleNotFoundError \(late_agent.py, line 1\)"):
        load_agent(settings(agent="late_agent:make"), asks=False)
