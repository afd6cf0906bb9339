"""Files that users name for an output."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from graph.output import output_file


def written(path: Path, text: bytes = b"new") -> None:
    with output_file(path) as file:
        file.write(text)


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def stops() -> None:
        with output_file(tmp_path / "run.json") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    written(tmp_path / "run.json", b"old")
    with pytest.raises(KeyboardInterrupt):
        stops()
    assert (tmp_path / "run.json").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["run.json"]


def test_others_may_read_it_as_they_may_other_files(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    written(tmp_path / "run.json")
    assert (tmp_path / "run.json").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "run.json").symlink_to("kept.json")
    written(tmp_path / "run.json")
    assert (tmp_path / "run.json").is_symlink()
    assert (tmp_path / "kept.json").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    written(tmp_path / "pipe")
    assert os.read(reader, 9) == b"new"
    os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_what_a_stream_was_redirected_to_is_added_to(tmp_path: Path) -> None:
    script = """
from pathlib import Path
from graph.output import output_file
print("before")
with output_file(Path("/dev/stdout")) as file:
    file.write(b"new\\n")
print("after")
"""
    (tmp_path / "log").write_text("old\n")
    with (tmp_path / "log").open("a") as log:
        subprocess.run([sys.executable, "-c", script], stdout=log, check=True)
    assert (tmp_path / "log").read_text() == "old\nbefore\nnew\nafter\n"
