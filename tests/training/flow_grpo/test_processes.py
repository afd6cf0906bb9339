"""Several processes on one machine, connected by gloo, make the update that one makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from graph.errors import ConfigError
from tests.training.support.run_sharded import ENVIRONMENT
from tests.training.support.runs import figures, same, weights
from tests.training.support.toy import toy_config
from tests.training.support.toy_roles import MAKE, REWARD
from tests.training.support.vllm_standin import StandIn
from training.engines.kinds import refuse_unsuited_sharding
from training.flow_grpo import build
from training.flow_grpo.launch import train
from training.flow_grpo.trainer import FlowGRPOTrainer
from training.models.policy import load_policy
from training.rollouts.store import read_rollouts
from training.run import checkpoints, ranks

torch.set_num_threads(1)

ROOT = Path(__file__).parents[3]
ROLES = {"agent": MAKE, "role": ["planner", "solver"], "policies": "per_role", "reward": REWARD, "token_budget": 70}


def launched(program: str, folder: Path, model: Path, settings: dict[str, Any]) -> None:
    """A run of two processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    command = [
        *launcher,
        f"tests.training.support.{program}",
        str(folder),
        str(model),
        "--settings",
        json.dumps(settings),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]


def compared(alone: Path, together: Path, tolerance: float) -> None:
    same(weights(alone / "run" / "final"), weights(together / "run" / "final"), tolerance)
    for one, two in zip(figures(alone / "run"), figures(together / "run"), strict=True):
        for name in ("update", "rollouts", "reward", "loss", "kl", "entropy", "grad_norm", "tokens/trained"):
            assert two[name] == pytest.approx(one[name], rel=1e-3, abs=1e-5)
    stored = [sorted(rollout.id for rollout in read_rollouts(run / "run" / "rollouts")) for run in (alone, together)]
    assert stored[0] == stored[1]
    turns = [{r.id: r.turns for r in read_rollouts(run / "run" / "rollouts")} for run in (alone, together)]
    assert {turn.run for made in turns[1].values() for turn in made} == turns[0].keys()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("alone", "together"):
        (tmp_path / name).mkdir()
    return tmp_path / "alone", tmp_path / "together"


@pytest.mark.parametrize(
    "settings",
    [
        {"tasks_per_step": 4},
        # Processes with different numbers of tasks and rows, several micro-batches each, all weights.
        {"tasks_per_step": 3, "token_budget": 300, "lora_rank": 0},
    ],
)
def test_two_processes_make_the_update_of_one(
    settings: dict[str, Any], folders: tuple[Path, Path], policy_folder: Path
) -> None:
    settings = {"steps": 1, "beta": 0.05, "learning_rate": 1e-3, **settings}
    alone, together = folders
    train(toy_config(alone, policy_folder, **settings))
    launched("run_toy", together, policy_folder, settings)
    # AdamW's first step divides each gradient by its own size, so the rounding of a tiny one shows.
    compared(alone, together, 1e-4)


def test_two_processes_make_the_update_of_one_with_an_adapter_for_each_role(
    folders: tuple[Path, Path], speaking_folder: Path
) -> None:
    """A process may have no micro-batch of a role, and its last backward pass is through one adapter only."""
    settings = {**ROLES, "steps": 2, "tasks_per_step": 3, "beta": 0.05, "learning_rate": 1e-3}
    alone, together = folders
    train(toy_config(alone, speaking_folder, **settings))
    launched("run_toy", together, speaking_folder, settings)
    compared(alone, together, 1e-4)


def test_no_trainer_is_left_when_a_run_leaves_the_other_processes(
    tmp_path: Path, policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reducer that outlives the process group can wait for ever (seen once in about fifty runs)."""
    made: list[weakref.ref[FlowGRPOTrainer]] = []
    left: list[bool] = []
    make, leave = build.make_trainer, ranks.leave

    def making(*arguments: Any, **more: Any) -> FlowGRPOTrainer:
        trainer = make(*arguments, **more)
        made.append(weakref.ref(trainer))
        return trainer

    monkeypatch.setattr(build, "make_trainer", making)
    monkeypatch.setattr(ranks, "leave", lambda: (leave(), left.append(made[0]() is not None)))
    train(toy_config(tmp_path, policy_folder, steps=1))
    assert left == [False]


@pytest.mark.parametrize(
    ("policy", "more", "adapters"),
    [("policy_folder", {}, [""]), ("speaking_folder", ROLES, ["-planner", "-solver"])],
)
def test_sharded_weights_are_trained_sampled_saved_and_resumed(
    policy: str, more: dict[str, Any], adapters: list[str], folders: tuple[Path, Path], request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(policy)
    alone, together = folders
    settings = {"steps": 3, "beta": 0.05, "learning_rate": 1e-3, "engine": "vllm", "deterministic": False, **more}
    model, _ = load_policy(str(folder), "float32")
    with StandIn(model) as server:
        train(toy_config(alone, folder, **settings, vllm_url=server.url))
    model, _ = load_policy(str(folder), "float32")
    with StandIn(model) as server:
        settings["vllm_url"] = server.url
        launched("run_sharded", together, folder, {**settings, "steps": 2})
        assert len(checkpoints.checkpoints(together / "run")) == 2
        launched("run_sharded", together, folder, settings)
        loaded = [name.split("-", 3)[3] for what, name in server.events if what == "loaded"]
    assert loaded == [f"{version}{adapter}" for version in range(3) for adapter in adapters]
    compared(alone, together, 1e-4)
    assert all(line["logprob_gap"] < 1e-4 for line in figures(together / "run"))


def test_sharding_that_leaves_nothing_to_sample_from_is_refused(
    tmp_path: Path, policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="no process holds a policy"):
        train(toy_config(tmp_path, policy_folder))
    refuse_unsuited_sharding("vllm")
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(ConfigError, match="fsdp_version: 2"):
        refuse_unsuited_sharding("vllm")
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    refuse_unsuited_sharding("transformers")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    with pytest.raises(ConfigError, match="ZeRO-3"):
        refuse_unsuited_sharding("vllm")
