"""Folders that are replaced: a reader finds the old one or the new one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from training.run import checkpoints


def test_the_old_weights_stay_until_the_new_ones_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final = tmp_path / "final"
    removed: list[str] = []

    def remove(folder: Path, ignore_errors: bool = False) -> None:
        removed.append((final / "weights").read_text())
        remove_really(folder, ignore_errors=ignore_errors)

    remove_really = shutil.rmtree
    for content in ("old", "new"):
        staged = checkpoints.staging_folder(tmp_path) / "final"
        staged.mkdir()
        (staged / "weights").write_text(content)
        monkeypatch.setattr(checkpoints.shutil, "rmtree", remove)
        checkpoints.put(staged, final)
        monkeypatch.setattr(checkpoints.shutil, "rmtree", remove_really)
        checkpoints.drop_staging(tmp_path)
    assert set(removed) <= {"old", "new"}
    assert removed[-1] == "new", "while the old ones are deleted, the new ones are in their place"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_text("")])
def test_a_checkpoint_with_a_damaged_file_is_none(
    tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    def publish(update: int) -> None:
        staged = checkpoints.staging_folder(tmp_path)
        (staged / "adapter").mkdir()
        (staged / "adapter" / "weights").write_text("all of them")
        checkpoints.publish(staged, tmp_path, update, keep=1)

    publish(1)
    damage(tmp_path / "checkpoint-1" / "adapter" / "weights")
    assert checkpoints.newest(tmp_path) is None
    assert caplog.text.count("checkpoint-1 in") == 1
    assert checkpoints.newest_in_words(tmp_path) == "there is no checkpoint yet"
    assert caplog.text.count("checkpoint-1 in") == 1
    publish(2)
    assert checkpoints.newest(tmp_path) == tmp_path / "checkpoint-2"
    assert not (tmp_path / "checkpoint-1").exists()


def test_older_weights_are_not_taken_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.yaml").touch()
    for update in (1, 2):
        staged = checkpoints.staging_folder(tmp_path)
        (staged / "adapter_model.safetensors").write_text("all of them")
        checkpoints.publish(staged, tmp_path, update, keep=2)
    (tmp_path / "checkpoint-2" / "adapter_model.safetensors").write_text("")
    assert checkpoints.weights_of(tmp_path) == tmp_path / "checkpoint-1"
    assert "checkpoint-2 in" in caplog.text
