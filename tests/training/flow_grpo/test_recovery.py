"""Runs that are killed go on as if nothing had happened; runs that cannot go on say why and leave what they had."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from graph.errors import AgentFlowError, DataError, ModelError, ModelUnavailable
from tests.training.support.run_toy import PHASES, run
from tests.training.support.runs import figures, same, weights
from tests.training.support.toy import toy_config
from training.algo.objectives import LossParts
from training.flow_grpo.__main__ import main
from training.flow_grpo.launch import train
from training.rollouts.store import read_rollouts
from training.run import checkpoints

torch.set_num_threads(1)


def validated(folder: Path) -> dict[str, Any]:
    """Settings of a run with two validations, of four tasks each."""
    path = folder / "held.jsonl"
    lines = [{"id": f"v{n}", "question": f"Number {n + 50}", "answers": ["shout"]} for n in range(4)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"validation": str(path), "validation_every": 2}


def killed(phase: str, folder: Path, model: Path) -> int | None:
    """The exit code of a run that kills itself at a phase; its interpreter is forked from one that knows torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "transformers", "peft", "accelerate"])
    process = context.Process(target=run, args=(folder, model, phase, validated(folder)))
    process.start()
    process.join(240)
    if process.is_alive():
        process.kill()
        return None
    return process.exitcode


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, policy_folder: Path) -> Path:
    """Three steps without interruption."""
    folder = tmp_path_factory.mktemp("undisturbed")
    train(toy_config(folder, policy_folder, **validated(folder)))
    return folder / "run"


@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_run_resumes_as_if_nothing_had_happened(
    phase: str, undisturbed: Path, tmp_path: Path, policy_folder: Path
) -> None:
    assert killed(phase, tmp_path, policy_folder) == -9
    kept = [path.name for path in checkpoints.checkpoints(tmp_path / "run")]
    assert kept == [f"checkpoint-{number + 1}" for number in range(PHASES[phase])]
    assert not (tmp_path / "run" / "final").exists()
    train(toy_config(tmp_path, policy_folder, **validated(tmp_path)))
    for found, expected in zip(figures(tmp_path / "run"), figures(undisturbed), strict=True):
        assert found == pytest.approx(expected, abs=1e-6)
    same(weights(tmp_path / "run" / "final"), weights(undisturbed / "final"), 1e-6)
    for name, count in (("rollouts", 3 * 16), ("validations", 3 * 4)):
        ids = [rollout.id for rollout in read_rollouts(tmp_path / "run" / name)]
        assert len(ids) == len(set(ids)) == count
    assert not (tmp_path / "run" / "staging").exists()


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_anew(
    undisturbed: Path, tmp_path: Path, policy_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = toy_config(tmp_path, policy_folder, **validated(tmp_path))
    shutil.copytree(undisturbed, config.out)
    for path in checkpoints.checkpoints(Path(config.out)):
        (path / checkpoints.MARKER).unlink()  # as a machine that loses power can leave them
    kept = Path(config.out) / "config.yaml"
    kept.write_text(kept.read_text().replace(str(undisturbed.parent), str(tmp_path)))
    train(config)
    assert caplog.text.count("files are missing or cut") == 1
    assert figures(tmp_path / "run") == figures(undisturbed)
    assert len(list(read_rollouts(tmp_path / "run" / "validations"))) == 3 * 4


def test_a_finished_run_is_finished(undisturbed: Path, tmp_path: Path, policy_folder: Path) -> None:
    config = toy_config(tmp_path, policy_folder, steps=1)
    train(config)
    before = figures(tmp_path / "run")
    train(config)
    assert figures(tmp_path / "run") == before


def test_the_command_killed_from_outside_goes_on(tmp_path: Path, policy_folder: Path) -> None:
    settings = tmp_path / "settings.yaml"
    config = toy_config(tmp_path, policy_folder, steps=40)
    settings.write_text(json.dumps(config.as_dict()))
    command = [sys.executable, "-m", "training.flow_grpo", "--config", str(settings)]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    with subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 1 of 40, "):
                break
        process.kill()
    done = len(checkpoints.checkpoints(Path(config.out)))
    assert main(["--config", str(settings), "--steps", str(done + 1)]) == 0
    assert [line["update"] for line in figures(Path(config.out))] == list(range(1, done + 2))


REMOVED: dict[str, Path] = {}


def test_a_folder_that_is_removed_ends_the_run(
    tmp_path: Path, policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(tmp_path, policy_folder, reward=f"{__name__}:removing")
    monkeypatch.setitem(REMOVED, "folder", Path(config.out))
    with pytest.raises(DataError, match=r"update 1 could not be written: .*config\.yaml has been removed"):
        train(config)
    assert not list(Path(config.out).glob("checkpoint-*"))


def removing(task: Any, state: Any) -> float:
    """A reward function during which somebody tidies up; rollouts that are stored then make a folder of their own."""
    (REMOVED["folder"] / "config.yaml").unlink(missing_ok=True)
    return 1.0


@pytest.fixture
def begun(tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A run of one step; gives what the same command says that goes on with it and fails."""
    settings = tmp_path / "settings.yaml"
    config = toy_config(tmp_path, policy_folder, attempts=1)
    settings.write_text(json.dumps(config.as_dict()))
    assert main(["--config", str(settings), "--steps", "1"]) == 0

    def again(*words: str, code: int = 2) -> str:
        capsys.readouterr()
        assert main(["--config", str(settings), "--steps", "2", *words]) == code
        kept = [path.name for path in checkpoints.checkpoints(Path(config.out))]
        assert kept == (["checkpoint-1"] if code else ["checkpoint-1", "checkpoint-2"])
        return capsys.readouterr().err

    return again


def not_a_number(*arguments: object) -> LossParts:
    return LossParts(torch.tensor(float("nan"), requires_grad=True), {"terms": torch.ones(())}, torch.zeros(()))


def full(*arguments: object, **more: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_memory_on_the_gpu(*arguments: object) -> LossParts:
    raise torch.OutOfMemoryError


def no_memory(*arguments: object) -> LossParts:
    return LossParts(torch.empty(2**60), {}, torch.zeros(()))


async def gone(*arguments: object, **more: object) -> Any:
    raise ModelUnavailable("The policy's server at http://gpu:8000 does not answer.")


@pytest.mark.parametrize(
    ("place", "fault", "words"),
    [
        ("training.update.gradient.policy_loss", not_a_number, "The loss is nan"),
        ("training.update.gradient.policy_loss", no_memory_on_the_gpu, "not enough memory"),
        ("training.update.gradient.policy_loss", no_memory, "not enough memory"),
        ("training.rollouts.store.RolloutStore._write", full, "disk is full"),
        ("training.run.metrics.MetricsFile.append", full, "disk is full"),
        ("training.run.checkpoints.publish", full, "disk is full"),
        ("training.engines.in_process.TransformersEngine.generate", gone, "unavailable (16). The first: The policy's"),
    ],
)
def test_what_goes_wrong_is_told_and_the_last_checkpoint_stands(
    place: str, fault: Callable[..., Any], words: str, begun: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(place, fault)
        said = begun()
    [error] = [line for line in said.splitlines() if line.startswith("error: ")]
    assert words in error
    assert "Traceback" not in said
    begun(code=0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_checkpoint_that_meets_a_full_disk_is_none(
    begun: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = checkpoints.staging_folder

    def staging(path: Path) -> Path:
        folder = made(path)
        (folder / "checkpoint-2").mkdir()
        (folder / "checkpoint-2" / "optimizer.pt").symlink_to("/dev/full")
        return folder

    with monkeypatch.context() as patch:
        patch.setattr("training.run.checkpoints.staging_folder", staging)
        said = begun()
    assert "The checkpoint of update 2 could not be written" in said
    assert "the disk may be full" in said
    assert "the last good checkpoint is" in said
    begun(code=0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=False)


@pytest.mark.parametrize("room", [4096, 200_000])
def test_a_disk_that_is_really_full(
    room: int, small_disk: Path, tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.yaml"
    config = toy_config(tmp_path, policy_folder, out=str(small_disk / "run"))
    settings.write_text(json.dumps(config.as_dict()))
    assert main(["--config", str(settings), "--steps", "1"]) == 0
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        file.write(bytes(shutil.disk_usage(small_disk).free - room))
    capsys.readouterr()
    assert main(["--config", str(settings), "--steps", "2"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: ")
    assert "disk" in told
    assert "full" in told
    assert [path.name for path in checkpoints.checkpoints(small_disk / "run")] == ["checkpoint-1"]
    filler.unlink()
    assert main(["--config", str(settings), "--steps", "2"]) == 0


def test_an_exploding_policy_ends_the_run_with_a_sentence(tmp_path: Path, policy_folder: Path) -> None:
    with pytest.raises(AgentFlowError, match=r"not finite|is nan|is inf") as caught:
        train(toy_config(tmp_path, policy_folder, learning_rate=1e30, max_grad_norm=1e9, lora_rank=0))
    assert isinstance(caught.value, ModelError)
