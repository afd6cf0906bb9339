"""What others get: the wheel and the editable install, as a type checker and an interpreter see them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

APP = """
from agentflow import Context, State, build_graph
from langchain_core.tools import tool

@tool
def weather(town: str) -> str:
    "Tell the weather."
    return f"sunny in {town}"

graph = build_graph(tools=[weather, "python"])
state: State = graph.invoke({"question": "How is it in Port Ellery?"}, context=Context(max_turns=3))
reveal_type(graph.invoke({"question": "?"})["memory"][0]["plan"]["tool_name"])
reveal_type(state["answer"])
"""

WRONG = """
from agentflow import Context, build_graph

state = build_graph().invoke({"question": "?"}, context=Context(max_turn=3))
state["anwser"]
"""


@pytest.fixture(scope="module", params=["wheel", "editable"])
def python(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that the project is installed in; its dependencies are those of the tests."""
    pytest.importorskip("setuptools", "77", reason="needs setuptools (extra dev)")
    home = tmp_path_factory.mktemp(request.param)
    venv.create(home / "venv", with_pip=False)
    [packages] = (home / "venv").glob("lib/python*/site-packages")
    build = f"from setuptools.build_meta import *; build_{request.param}({str(home)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    [built] = home.glob("*.whl")
    with zipfile.ZipFile(built) as wheel:
        wheel.extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return home / "venv" / "bin" / "python"


def run(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


def checked(python: Path, folder: Path, program: str) -> str:
    """What mypy says of a program."""
    (folder / "app.py").write_text(program)
    cache = python.parents[3] / "mypy"
    command: list[str | Path] = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache]
    return run([*command, "--python-executable", python, "app.py"], folder).stdout


def test_an_application_is_type_checked_with_our_types(python: Path, source: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="needs mypy (extra dev)")
    said = checked(python, tmp_path, APP)
    assert re.findall(r'Revealed type is "(.+)"', said) == ["str", "str"], said
    assert "Success" in said, said
    for example in ("own_tool", "chat_sqlite", "approval", "subgraph"):
        said = checked(python, tmp_path, (source / "examples" / f"{example}.py").read_text())
        assert "Success" in said, said
    wrong = checked(python, tmp_path, WRONG)
    assert 'Unexpected keyword argument "max_turn" for "Context"' in wrong
    assert 'TypedDict "Result" has no key "anwser"' in wrong


def test_it_runs_from_anywhere_with_its_files(python: Path, tmp_path: Path) -> None:
    done = run([python, "-c", "from agentflow.command import main; main(['--version'])"], tmp_path)
    assert re.fullmatch(r"agentflow-langgraph \d+\.\d+\.\d+\S*\n", done.stdout), done.stderr
    needed = [
        *((package, "py.typed") for package in ("agentflow", "graph", "tools", "evals", "training")),
        ("evals", "own/questions.jsonl"), ("evals", "own/corpus.jsonl"), ("evals.reports", "report.html"),
        ("evals.view", "static/page.html"), ("evals.view", "static/app.js"),
        ("training", "recipes/cpu.yaml"), ("training", "recipes/one_gpu.yaml"),
    ]  # fmt: skip
    missing = f"[at for at in {needed!r} if not files(at[0]).joinpath(at[1]).is_file()]"
    assert run([python, "-c", f"from importlib.resources import files; print({missing})"], tmp_path).stdout == "[]\n"
