"""Whole training runs of an agent with two roles, an adapter each: they learn, resume, overlap, serve and export."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from graph.errors import ConfigError
from tests.training.support.runs import figures, same, weights
from tests.training.support.toy import toy_tasks
from tests.training.support.toy_modules import deciding_policy, modules_config
from tests.training.support.toy_roles import roles_config
from tests.training.support.vllm_standin import StandIn
from training.export.__main__ import main as export
from training.flow_grpo.agent import load_agent
from training.flow_grpo.config import FlowGRPOConfig
from training.flow_grpo.launch import train
from training.models.policy import load_policy, load_trained
from training.replay.__main__ import main as replay
from training.rollouts.factory import FactoryAgent
from training.rollouts.records import PlannerTurn, Rollout
from training.rollouts.store import read_rollouts
from training.update.logprobs import completion_logprobs
from training.validate.__main__ import main as validate

torch.set_num_threads(1)

ROLES = ("planner", "solver")


def turns(rollouts: Sequence[Rollout], role: str) -> list[PlannerTurn]:
    return [turn for rollout in rollouts for turn in rollout.turns if turn.role == role]


def steps(run: Path) -> list[dict[str, float]]:
    return [line for line in figures(run) if "loss" in line]


def test_both_roles_learn_each_with_its_own_adapter(tmp_path: Path, speaking_folder: Path) -> None:
    config = roles_config(
        tmp_path,
        speaking_folder,
        steps=14,
        tasks_per_step=8,
        group_size=8,
        lora_rank=32,
        lora_alpha=32,
        learning_rate=3e-3,
        save_every=14,
    )
    train(config)
    lines = steps(tmp_path / "run")
    rewards = [line["reward"] for line in lines]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.15
    assert sum(rewards[-3:]) / 3 > 0.6
    # the planner's share of the reward, and the solver's where it was asked
    assert lines[-1]["acted/solver"] > lines[0]["acted/solver"]
    solved = [2 * line["reward"] / line["acted/solver"] - 1 for line in lines]
    assert sum(solved[-3:]) > sum(solved[:3])
    trained = weights(tmp_path / "run" / "final")
    assert {name.partition("/")[0] for name in trained} == set(ROLES)


def test_figures_show_roles_apart(tmp_path: Path, speaking_folder: Path) -> None:
    train(roles_config(tmp_path, speaking_folder, steps=2, beta=0.05))
    rollouts = list(read_rollouts(tmp_path / "run" / "rollouts"))
    first, second = steps(tmp_path / "run")
    begun = [rollout for rollout in rollouts if rollout.step == 0]
    sampled = {role: sum(len(turn.completion_ids) for turn in turns(begun, role)) for role in ROLES}
    assert {role: first[f"trained_tokens/{role}"] for role in ROLES} == sampled
    assert first["tokens/trained"] == sum(sampled.values())
    assert first["acted/solver"] == len(turns(begun, "solver")) / len(begun)
    assert (first["acted/planner"], first["turns/planner"], first["turns/solver"]) == (1, 1, 1)
    for name in ("kl", "entropy", "clipped_high", "logprob_gap"):
        mean = sum(second[f"{name}/{role}"] * second[f"trained_tokens/{role}"] for role in ROLES)
        assert second[name] == pytest.approx(mean / second["tokens/trained"], abs=1e-9)
    assert second["loss"] == pytest.approx(sum(second[f"loss/{role}"] for role in ROLES), abs=1e-7)
    assert second["grad_norm"] == pytest.approx(sum(second[f"grad_norm/{role}"] ** 2 for role in ROLES) ** 0.5)
    for role in ROLES:
        assert first[f"cut_off/{role}"] == pytest.approx(
            sum(turn.finish_reason == "length" for turn in turns(begun, role)) / len(turns(begun, role))
        )
        assert second[f"advantage_std/{role}"] >= 0
        assert f"unreadable_calls/{role}" in second


def test_a_resumed_run_is_the_run_that_was_never_stopped(tmp_path: Path, speaking_folder: Path) -> None:
    settings = {"tasks_per_step": 3, "group_size": 4, "updates_per_step": 2, "beta": 0.05, "token_budget": 60}
    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    train(roles_config(tmp_path / "whole", speaking_folder, steps=3, **settings))
    for number in (1, 3):
        train(roles_config(tmp_path / "resumed", speaking_folder, steps=number, **settings))
    same(*(weights(tmp_path / name / "run" / "final") for name in ("whole", "resumed")))
    lines = [[{**line, "epoch": 0} for line in figures(tmp_path / name / "run")] for name in ("whole", "resumed")]
    assert lines[0] == lines[1]  # an epoch is the whole run, which was shorter at first
    before, after = (weights(tmp_path / "whole" / "run" / f"checkpoint-{number}") for number in (2, 6))
    for role in ROLES:  # both went on being trained
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(role))


def test_overlapping_rollouts_are_sampled_with_the_adapters_of_their_roles(
    tmp_path: Path, speaking_folder: Path
) -> None:
    config = roles_config(tmp_path, speaking_folder, steps=3, overlap=True, deterministic=False, save_every=1, keep=9)
    train(config)
    rollouts = list(read_rollouts(tmp_path / "run" / "rollouts"))
    for version in (1, 2):
        model, _ = load_trained(str(speaking_folder), tmp_path / "run" / f"checkpoint-{version}", "float32")
        drawn = [[turn for turn in turns(rollouts, role) if turn.policy_version == version][:6] for role in ROLES]
        assert version == 2 or all(drawn)
        for turn in drawn[0] + drawn[1]:
            own = completion_logprobs(model, turn.prompt_ids, turn.completion_ids, 1.0, turn.role)
            assert list(turn.logprobs) == pytest.approx(own, abs=1e-4)


def test_vllm_serves_all_adapters_of_one_version_at_a_time(tmp_path: Path, speaking_folder: Path) -> None:
    model, _ = load_policy(str(speaking_folder), "float32")
    settings = {"engine": "vllm", "deterministic": False, "tasks_per_step": 2, "group_size": 4, "beta": 0.05}
    with StandIn(model) as server:
        settings["vllm_url"] = server.url
        train(roles_config(tmp_path, speaking_folder, steps=2, **settings))
        train(roles_config(tmp_path, speaking_folder, steps=3, **settings))  # checked against its servers once more
        loaded = [name.split("-", 3)[3] for what, name in server.events if what == "loaded"]
        asked = [(body["model"].split("-", 3)[3], tuple(body["prompt"])) for body in server.bodies if len(body) > 9]
    assert loaded == [f"{version}-{role}" for version in (0, 1, 2) for role in ROLES]
    assert all(line["logprob_gap"] < 1e-4 for line in steps(tmp_path / "run"))
    rollouts = list(read_rollouts(tmp_path / "run" / "rollouts"))
    assert all(len({turn.policy_version for turn in rollout.turns}) == 1 for rollout in rollouts)
    assert {turn.policy_version for rollout in rollouts for turn in rollout.turns} == {0, 1, 2}
    for rollout in rollouts:
        for turn in rollout.turns:
            assert (f"{turn.policy_version}-{turn.role}", turn.prompt_ids) in asked


def test_the_other_commands_know_the_roles(
    tmp_path: Path, speaking_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = toy_tasks(tmp_path / "held_out.jsonl", 6)
    held_out.write_text(held_out.read_text().replace("Number ", "Number 5"))
    run, after = tmp_path / "run", tmp_path / "after"
    settings = {"validation": str(held_out), "validation_every": 2, "validation_temperature": 0.7}
    train(roles_config(tmp_path, speaking_folder, steps=2, **settings))
    words = ["--config", str(run / "config.yaml"), "--checkpoint", str(run), "--out", str(after)]
    assert validate(words) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "planner        asked in 100% of the runs, 1.0 turns a run, 3 tokens a reply, 0% cut off" in shown
    assert "solver         asked in " in shown
    at_the_end = {r.task.id: r.turns for r in read_rollouts(run / "validations") if r.step == 2}
    for rollout in read_rollouts(after / "rollouts"):
        model, _ = load_trained(str(speaking_folder), run / "checkpoint-2", "float32")
        for turn in rollout.turns:
            own = completion_logprobs(model, turn.prompt_ids, turn.completion_ids, 0.7, turn.role)
            assert list(turn.logprobs) == pytest.approx(own, abs=1e-4)
        assert rollout.turns[0].prompt_ids == at_the_end[rollout.task.id][0].prompt_ids
    assert export([str(run), "--out", str(tmp_path / "none")]) == 2
    assert "holds an adapter for each role (planner, solver); say which with --role" in capsys.readouterr().err
    assert export([str(run), "--role", "slover", "--out", str(tmp_path / "none")]) == 2
    assert "There is no role 'slover'" in (told := capsys.readouterr().err)
    assert "Did you mean solver? Its roles are planner, solver." in told
    exported = {}
    for role in ROLES:
        assert export([str(run), "--role", role, "--out", str(tmp_path / role)]) == 0, capsys.readouterr().err
        exported[role], _ = load_policy(str(tmp_path / role), "float32")
        alone, _ = load_trained(str(speaking_folder), run / "checkpoint-2" / role, "float32")
        prompt, reply = at_the_end["t0"][0].prompt_ids, at_the_end["t0"][0].completion_ids
        assert completion_logprobs(exported[role], prompt, reply, 1.0) == pytest.approx(
            completion_logprobs(alone, prompt, reply, 1.0), abs=1e-4
        )
        assert f"The {role} of the agent" in (tmp_path / role / "README.md").read_text()
    assert replay(["samples", str(run), "--out", str(tmp_path / "samples.jsonl")]) == 0
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert {sample["role"] for sample in samples} == set(ROLES)
    capsys.readouterr()
    assert replay(["show", str(run)]) == 0
    assert "sampled: planner 3 tokens in 1 turn, solver 3 tokens in 1 turn" in capsys.readouterr().out
    assert yaml.safe_load((run / "config.yaml").read_text())["role"] == list(ROLES)


def settings(**values: Any) -> FlowGRPOConfig:
    return FlowGRPOConfig(**{"model": "m", "out": "o", "tasks": "t", **values})


def test_settings_of_roles() -> None:
    both = settings(role="planner, executor", policies="per_role")
    assert both.roles == both.adapters == both.several_roles == ("planner", "executor")
    shared = settings(role=["planner", "executor"])
    assert (shared.adapters, shared.several_roles) == ((), ("planner", "executor"))
    assert settings().several_roles == settings().adapters == ()
    own = settings(agent="a:make", agent_models="{solver: 'ollama:qwen2.5:7b'}")
    assert own.frozen_models == ("ollama:qwen2.5:7b",)
    for values, words in [
        ({"policies": "per_role"}, "needs several roles in role"),
        ({"policies": "per_role", "role": "planner,executor", "lora_rank": 0}, "needs adapters; set lora_rank"),
        ({"policies": "per_role", "agent": "a:make", "role": "default,b"}, "no role can be called default"),
        ({"role": "planner,planner"}, "named twice"),
        ({"agent_models": {"executor": "embedded"}}, "of an agent of your own"),
        ({"grouping": "team"}, "role, rollout, role_and_turn"),
        ({"policies": "both"}, "it has to be 'shared' or 'per_role'"),
    ]:
        with pytest.raises(ConfigError, match=words):
            settings(**values)


def one(planner: Any, solver: Any) -> Any:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"role": "planner,executor", "direct_arguments": True, "tools": ["python"]}, "no model is asked in it"),
        ({"agent": f"{__name__}:one", "role": "planner", "agent_models": {"boss": "embedded"}}, "none of its roles"),
        ({"agent": f"{__name__}:one", "role": "planner", "agent_models": {"planner": "embedded"}}, "is trained"),
        ({"agent": f"{__name__}:one", "role": "planner", "executor": "embedded"}, "stand in `agent_models`"),
        ({"agent": "http", "agent_command": "true", "agent_models": {"a": "embedded"}}, "agent: http has its own"),
    ],
)
def test_roles_that_cannot_be_trained_are_told(values: dict[str, Any], words: str) -> None:
    context = {"verify": "rules", "answer": "last_result", "analyse": False} if "agent" not in values else {}
    with pytest.raises(ConfigError, match=words):
        load_agent(settings(**context, **values), asks=True)


def test_a_frozen_role_gets_a_model_of_its_own() -> None:
    config = settings(agent=f"{__name__}:one", role="planner", agent_models={"solver": "vllm:m@http://127.0.0.1:1/v1"})
    agent = load_agent(config, asks=False)
    assert isinstance(agent, FactoryAgent)
    assert agent._frozen["solver"].model == "m"  # type: ignore[attr-defined]
    base = settings(agent=f"{__name__}:one", role="planner", agent_models={"solver": "base"}, vllm_url="http://a/v1")
    assert "base" in base.frozen_models


def test_planner_and_executor_of_our_graph_learn_together(tmp_path: Path) -> None:
    model = deciding_policy(tmp_path / "model")
    train(modules_config(tmp_path, model, steps=6, save_every=6))
    lines = steps(tmp_path / "run")
    rewards = [line["reward"] for line in lines]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:2]) / 2 + 0.15
    assert {turn.role for rollout in read_rollouts(tmp_path / "run" / "rollouts") for turn in rollout.turns} == {
        "planner",
        "executor",
    }
    assert all(f"entropy/{role}" in lines[-1] for role in ("planner", "executor"))
