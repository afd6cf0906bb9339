"""Whole training runs of a tiny model in the real graph: they learn, repeat, resume, accumulate and fail well."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from evals.view.details import details
from evals.view.library import Library
from graph.errors import AgentFlowError, ModelError
from training import checkpoints
from training.flow_grpo import main, train
from training.metrics import read_metrics
from training.objectives import LossParts
from training.store import RolloutStore, read_rollouts

from .toy import toy_config

torch.set_num_threads(1)

ROOT = Path(__file__).parents[2]
_OF_TIME = ("time", "seconds", "tokens_per_second")


def figures(run: Path) -> list[dict[str, float]]:
    """The lines of a run's metrics without what depends on the clock."""
    lines = read_metrics(run / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not any(word in k for word in _OF_TIME)} for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    [file] = folder.glob("*.safetensors")
    return load_file(file)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=tolerance, atol=tolerance)


def launched(folder: Path, model: Path, *words: str, settings: dict[str, Any] | None = None, ranks: int = 1) -> int:
    """The toy run as a command; its exit code."""
    launcher = [sys.executable, "-m"]
    if ranks > 1:
        launcher += ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"]
    command = [*launcher, "tests.training.run_toy", str(folder), str(model), "--settings", json.dumps(settings or {})]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([*command, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    if done.returncode not in (0, -9):
        sys.stderr.write(done.stderr[-3000:])
    return done.returncode


def test_reward_rises_on_a_task_that_a_tiny_model_can_learn(tmp_path: Path, policy_folder: Path) -> None:
    config = toy_config(
        tmp_path,
        policy_folder,
        steps=15,
        lora_rank=0,
        learning_rate=5e-3,
        tasks_per_step=8,
        group_size=8,
        save_every=15,
    )
    train(config)
    rewards = [line["reward"] for line in figures(Path(config.out)) if "reward" in line]
    before, after = sum(rewards[:3]) / 3, sum(rewards[-3:]) / 3
    assert after > 0.7
    assert after > before + 0.25
    [source] = Library([Path(config.out)]).sources  # what people look at it with reads what was written
    assert (len(source.index.rows), source.index.problems) == (15 * 8 * 8, [])
    shown = details(source.index.document(0), source.tokens)
    assert "".join(shown["drawn"][0]["pieces"]).startswith(shown["turns"][0]["reply"][:10])
    first, last = (
        read_metrics(Path(config.out) / "metrics.jsonl")[0],
        read_metrics(Path(config.out) / "metrics.jsonl")[14],
    )
    assert last["tool/shout"] > first["tool/shout"]
    assert first["logprob_gap"] < 1e-5


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, policy_folder: Path) -> Path:
    """Three steps without interruption."""
    folder = tmp_path_factory.mktemp("undisturbed")
    train(toy_config(folder, policy_folder))
    return folder / "run"


def test_one_seed_gives_one_run(undisturbed: Path, tmp_path: Path, policy_folder: Path) -> None:
    train(toy_config(tmp_path, policy_folder))
    assert figures(tmp_path / "run") == figures(undisturbed)
    same(weights(tmp_path / "run" / "final"), weights(undisturbed / "final"))
    other = tmp_path / "other"
    other.mkdir()
    train(toy_config(other, policy_folder, seed=1))
    assert figures(other / "run") != figures(undisturbed)


def test_every_rollout_is_kept_with_its_turns(undisturbed: Path) -> None:
    kept = list(read_rollouts(undisturbed / "rollouts"))
    assert len(kept) == 3 * 4 * 4
    assert {turn.policy_version for rollout in kept for turn in rollout.turns if rollout.step == 2} == {2}


@pytest.mark.parametrize("phase", ["rolling out", "updating", "checkpointing", "syncing"])
def test_a_killed_run_resumes_as_if_nothing_had_happened(
    phase: str, undisturbed: Path, tmp_path: Path, policy_folder: Path
) -> None:
    assert launched(tmp_path, policy_folder, "--phase", phase) == -9
    kept = [path.name for path in checkpoints.checkpoints(tmp_path / "run")]
    assert kept == (["checkpoint-1", "checkpoint-2"] if phase == "syncing" else ["checkpoint-1"])
    train(toy_config(tmp_path, policy_folder))
    for found, expected in zip(figures(tmp_path / "run"), figures(undisturbed), strict=True):
        assert found == pytest.approx(expected, abs=1e-6)
    same(weights(tmp_path / "run" / "final"), weights(undisturbed / "final"), 1e-6)
    ids = [rollout.id for rollout in read_rollouts(tmp_path / "run" / "rollouts")]
    assert len(ids) == len(set(ids)) == 48


def test_two_processes_make_the_update_of_one(tmp_path: Path, policy_folder: Path) -> None:
    settings = {"steps": 1, "tasks_per_step": 4, "beta": 0.05, "learning_rate": 1e-3}
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    train(toy_config(alone, policy_folder, **settings))
    assert launched(together, policy_folder, settings=settings, ranks=2) == 0
    same(weights(alone / "run" / "final"), weights(together / "run" / "final"), 1e-5)
    one, two = figures(alone / "run")[0], figures(together / "run")[0]
    for name in ("reward", "loss", "kl", "entropy", "grad_norm", "tokens/trained"):
        assert two[name] == pytest.approx(one[name], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("other", [{"token_budget": 300}, {"packing": "off"}, {"gradient_checkpointing": True}])
def test_batches_do_not_change_the_update(other: dict[str, Any], tmp_path: Path, policy_folder: Path) -> None:
    for name, settings in (("one", {}), ("two", other)):
        (tmp_path / name).mkdir()
        train(toy_config(tmp_path / name, policy_folder, steps=1, learning_rate=1e-3, **settings))
    same(weights(tmp_path / "one" / "run" / "final"), weights(tmp_path / "two" / "run" / "final"), 1e-4)


def test_several_updates_with_the_same_rollouts_and_refilled_groups(tmp_path: Path, policy_folder: Path) -> None:
    config = toy_config(tmp_path, policy_folder, steps=2, updates_per_step=2, refill=2, lora_rank=0)
    train(config)
    lines = [line for line in figures(tmp_path / "run") if "loss" in line]
    assert [line["update"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["reward"] == lines[1]["reward"]
    assert lines[0]["ratio"] == pytest.approx(1.0)
    assert lines[1]["ratio"] != pytest.approx(1.0, abs=1e-4)
    assert lines[0]["zero_variance"] == 0
    assert [path.name for path in checkpoints.checkpoints(tmp_path / "run")] == ["checkpoint-2", "checkpoint-4"]


def test_validation_is_logged_before_and_while_training(tmp_path: Path, policy_folder: Path) -> None:
    held_out = tmp_path / "held.jsonl"
    lines = [{"id": f"v{n}", "question": f"Number {n + 50}", "answers": ["shout"]} for n in range(6)]
    held_out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    train(toy_config(tmp_path, policy_folder, steps=2, validation=str(held_out), validation_every=2))
    found = [line for line in figures(tmp_path / "run") if "eval/pass_rate" in line]
    assert [line["update"] for line in found] == [0, 2]
    assert all(line["eval/rollouts"] == 6 for line in found)


def test_what_goes_wrong_is_told_and_the_last_checkpoint_stands(
    tmp_path: Path, policy_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.yaml"
    config = toy_config(tmp_path, policy_folder)
    settings.write_text(json.dumps(config.as_dict()))

    def run(*words: str) -> str:
        assert main(["--config", str(settings), *words]) == 2
        assert [path.name for path in checkpoints.checkpoints(Path(config.out))] == ["checkpoint-1"]
        return capsys.readouterr().err

    assert main(["--config", str(settings), "--steps", "1"]) == 0

    def not_a_number(*arguments: object) -> LossParts:
        return LossParts(torch.tensor(float("nan"), requires_grad=True), {"terms": 1.0}, 0.0)

    def full(self: RolloutStore, rollout: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def memory(*arguments: object) -> LossParts:
        raise torch.OutOfMemoryError

    def crash(*arguments: object, **more: object) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    cases: list[tuple[str, Callable[..., Any], str]] = [
        ("training.update.policy_loss", not_a_number, "The loss is nan"),
        ("training.store.RolloutStore.append", full, "The disk is full"),
        ("training.update.policy_loss", memory, "not enough memory"),
        ("training.checkpoints.publish", crash, "The disk is full"),
    ]
    for place, fault, words in cases:
        with monkeypatch.context() as patch:
            patch.setattr(place, fault)
            said = run()
        assert words in said
        assert "Traceback" not in said
    assert main(["--config", str(settings), "--steps", "2"]) == 0


def test_an_exploding_policy_ends_the_run_with_a_sentence(tmp_path: Path, policy_folder: Path) -> None:
    with pytest.raises(AgentFlowError, match=r"not finite|is nan|is inf") as caught:
        train(toy_config(tmp_path, policy_folder, learning_rate=1e30, max_grad_norm=1e9, lora_rank=0))
    assert isinstance(caught.value, ModelError)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lerning_rate", "1"], "did you mean 'learning_rate'"),
        (["--learning_rate", "fast"], "`learning_rate`"),
        (["--steps", "0"], "`steps`"),
        (["--steps"], "has no value"),
        (["steps", "3"], "is no setting"),
        (["--objective", "vpg"], "choose one of ppo"),
        (["--estimator", "gae"], "choose one of grpo"),
        (["--engine", "vllm"], "vllm_url"),
        (["--deterministic", "true", "--concurrency", "3"], "concurrency"),
        (["--tasks", "nowhere.jsonl"], "no file of tasks"),
        (["--model", "nowhere/at-all"], "cannot be loaded"),
        (["--model", "nowhere.gguf"], "no GGUF file"),
        (["--agent", "nowhere:at_all"], "cannot be imported"),
        (["--reward", "best"], "no reward 'best'"),
        (["--role", "boss", "--agent", "null"], "no role 'boss'"),
        (["--tasks_per_step", "99"], "only 16"),
        (["--lora_targets", "nothing"], "does not fit"),
        (["--validation", "TASKS"], "keep them apart"),
        (["--seed", "5"], "holds a run whose seed"),
        (["--config", "nowhere.yaml"], "cannot be read"),
        (["--out", "TASKS_FOLDER"], "is not empty"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    words: list[str],
    said: str,
    undisturbed: Path,
    policy_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = undisturbed.parent
    config = toy_config(folder, policy_folder)
    settings = folder / "settings.yaml"
    settings.write_text(json.dumps(config.as_dict()))
    tasks = str(folder / "tasks.jsonl")
    words = [{"TASKS": tasks, "TASKS_FOLDER": str(folder)}.get(word, word) for word in words]
    fresh = (
        [] if said.startswith("holds") or "--out" in words else ["--out", str(folder / "fresh" / str(abs(hash(said))))]
    )
    assert main(["--config", str(settings), *fresh, *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert said in told
    assert told.count("\n") == 1


def test_settings_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["--show", "--model", "m", "--out", "o", "--tasks", "t", "--learning-rate", "1e-5", "--tools", "a,b"]) == 0
    )
    shown = capsys.readouterr().out
    assert "learning_rate: 1.0e-05" in shown
    assert "- b" in shown
