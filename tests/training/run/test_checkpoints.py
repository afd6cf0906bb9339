"""Folders that are replaced: a reader finds the old one or the new one."""

from __future__ import annotations

import shutil
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
