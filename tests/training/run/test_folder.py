"""A run's folder: whose it is, and who may write to it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from graph.errors import ConfigError, DataError
from training.run.folder import claimed, new_output, read_settings

SETTINGS: dict[str, Any] = {"model": "m", "steps": 3, "out": "runs/mine"}


def begun(folder: Path, **settings: Any) -> None:
    with claimed(folder, {**SETTINGS, **settings}):
        (folder / "metrics.jsonl").touch()


def test_another_process_changes_nothing(tmp_path: Path) -> None:
    """It is told while the first still loads its model, when nothing but its settings is there."""
    with claimed(tmp_path, SETTINGS):
        for steps in (3, 4):
            with (
                pytest.raises(ConfigError, match="Another process is at work"),
                claimed(tmp_path, {**SETTINGS, "steps": steps}),
            ):
                pass
        assert read_settings(tmp_path) == SETTINGS


def test_another_run_is_refused_and_the_same_goes_on(tmp_path: Path) -> None:
    begun(tmp_path)
    begun(tmp_path)
    with pytest.raises(ConfigError, match="whose steps is 3, not 4"):
        begun(tmp_path, steps=4)
    with claimed(tmp_path, {**SETTINGS, "steps": 4}, resumable={"steps"}):
        assert read_settings(tmp_path)["steps"] == 4
    with pytest.raises(ConfigError, match="another command"):
        begun(tmp_path, command="training.sft")


@pytest.mark.parametrize("out", ["runs/mine/", "./runs/mine", "/elsewhere/mine"])
def test_a_folder_is_the_same_however_it_is_written(tmp_path: Path, out: str) -> None:
    begun(tmp_path)
    begun(tmp_path, out=out)
    assert read_settings(tmp_path)["out"] == out


@pytest.mark.parametrize("there", [[], ["mine"], ["mine", "config.yaml"]])
def test_a_run_that_is_refused_leaves_nothing(tmp_path: Path, there: list[str]) -> None:
    folder = tmp_path / "mine"
    if there:
        folder.mkdir()
    for name in there[1:]:
        (folder / name).write_text("steps: 3\n")
    with pytest.raises(DataError), claimed(folder, SETTINGS):
        raise DataError("There is no file of tasks.")
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == there
    begun(folder)
    with pytest.raises(ConfigError), claimed(folder, SETTINGS):
        raise ConfigError("There is not enough memory.")
    assert read_settings(folder) == SETTINGS


def test_a_run_that_is_refused_leaves_another_that_begins_there_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, unlink = tmp_path / "mine", Path.unlink

    def begins(self: Path, missing_ok: bool = False) -> None:
        unlink(self, missing_ok)
        if self.name == ".lock":
            monkeypatch.undo()
            self.touch()
            (folder / "config.yaml").write_text("steps: 4\n")

    monkeypatch.setattr(Path, "unlink", begins)
    with pytest.raises(DataError), claimed(folder, SETTINGS):
        raise DataError("There is no file of tasks.")
    assert read_settings(folder) == {"steps": 4}


def test_a_folder_that_vanishes_belongs_to_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    with pytest.raises(ConfigError, match="Another process is at work"), claimed(tmp_path / "mine", SETTINGS):
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        begun(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_full_disk_leaves_a_folder_that_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *_: Any, **__: Any) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space"):
            begun(tmp_path)
    begun(tmp_path)


def test_one_process_at_a_time_writes_an_output(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with new_output(out) as place:
        place.mkdir()
        (place / "mine").touch()
        with pytest.raises(ConfigError, match="Another process is at work"), new_output(out):
            pass
        assert (place / "mine").exists()
        assert not out.exists()
    assert [path.name for path in out.parent.rglob("*")] == ["out", "mine"]
    with pytest.raises(ConfigError, match="exists already"), new_output(out):
        pass


def half_written(out: Path) -> None:
    with new_output(out) as place:
        assert not place.exists()
        place.mkdir()
        (place / "half").touch()
        raise KeyError


def test_an_output_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "out.tmp").mkdir()  # of a process that was killed
    (tmp_path / "out.tmp" / "half").touch()
    (tmp_path / "out.lock").touch()
    with pytest.raises(KeyError):
        half_written(out)
    assert not list(tmp_path.iterdir())
    for text in ("one", "two"):
        with new_output(out, replace=True) as place:
            place.write_text(text)
    assert out.read_text() == "two"


def filled(out: Path) -> None:
    with new_output(out) as staged:
        staged.symlink_to("/dev/full")
        staged.write_text("some")


def filled_by_safetensors(out: Path) -> None:
    with new_output(out) as staged:
        staged.write_text("some")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("write", [filled, filled_by_safetensors])
def test_a_full_disk_is_told_with_the_output(tmp_path: Path, write: Callable[[Path], None]) -> None:
    with pytest.raises(DataError, match=f"{tmp_path / 'out'} could not be written: the disk is full"):
        write(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_working_directory_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="the working directory"), new_output(Path()):
        pass


def test_an_empty_folder_is_filled_through_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    with new_output(tmp_path / "out") as place:
        place.mkdir()
        (place / "mine").touch()
    assert (tmp_path / "out").is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["mine"]


def test_links_that_lead_in_a_circle_are_no_place_for_an_output(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(ConfigError, match="circle exists already"), new_output(tmp_path / "circle", replace=True):
        pass
    with pytest.raises(OSError, match="circle"), new_output(tmp_path / "circle" / "out"):
        pass
    assert (tmp_path / "circle").is_symlink()
