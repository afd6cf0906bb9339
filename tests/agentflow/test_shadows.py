"""A file of the user's that bears the name of one of our packages is named, and what to do about it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from _agentflow_shadows import hidden_by

ROOT = Path(__file__).parents[2]


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A new interpreter in a folder, where the project is installed as a path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("hidden", "program"),
    [
        ("tools", "import graph"),
        ("tools", "from agentflow import build_graph"),
        ("graph", "from agentflow import build_graph"),
        ("graph", "from evals import score"),
        ("evals", "import training"),
    ],
)
def test_a_program_is_told_which_file_is_in_the_way(tmp_path: Path, hidden: str, program: str) -> None:
    (tmp_path / f"{hidden}.py").write_text("mine = True\n")
    (tmp_path / "app.py").write_text(program)
    done = python(tmp_path, "app.py")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: The file {tmp_path / hidden}.py hides the package `{hidden}` of AgentFlow")
    assert "rename it" in last


@pytest.mark.parametrize("module", ["graph", "evals", "training.town", "agentflow"])
def test_a_command_ends_with_one_sentence(tmp_path: Path, module: str) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "__init__.py").write_text("")
    done = python(tmp_path, "-m", module, "--help")
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: The folder {tmp_path / 'tools'} hides the package `tools`")


def test_files_that_hide_nothing_we_need_are_left_alone(tmp_path: Path) -> None:
    for name in ("training", "evals"):
        (tmp_path / f"{name}.py").write_text("mine = True\n")
    (tmp_path / "tools").mkdir()  # a folder without __init__.py: Python prefers our package to it
    (tmp_path / "app.py").write_text("import agentflow, training, evals; print(training.mine and evals.mine)")
    assert python(tmp_path, "app.py").stdout.strip() == "True"


def test_the_command_looks_at_the_working_directory_last(tmp_path: Path) -> None:
    for name in ("tools", "graph", "evals"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is not yours')\n")
    done = python(tmp_path, "-P", "-m", "agentflow", "evals", "list")  # -P: what an installed command is started with
    assert (done.returncode, done.stderr) == (0, "")
    assert "gameof24" in done.stdout


def test_our_own_packages_hide_nothing() -> None:
    assert [hidden_by(name) for name in ("tools", "graph", "evals", "training")] == [None] * 4
    assert hidden_by("no_such_package_anywhere") is None
