"""What `langgraph build` would make: there is no Docker engine, so its recipe is read and its files are run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from evals.speed.fake_server import FakeModelServer
from tests.graph.conftest import plan_text, script


@pytest.fixture(scope="module")
def dockerfile(source: Path) -> str:
    pytest.importorskip("langgraph_cli", reason="needs langgraph-cli (extra dev)")
    command = [Path(sys.executable).with_name("langgraph"), "dockerfile", source / "Dockerfile"]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return (source / "Dockerfile").read_text()


def test_the_recipe_installs_the_project_and_what_the_default_model_needs(dockerfile: str, source: Path) -> None:
    extras = tomllib.loads((source / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    packages = [re.split(r"[<>=~]", requirement)[0] for requirement in extras["embedded"]]
    runs = re.findall(r"^RUN (.*)", dockerfile, re.MULTILINE)
    assert any(line.endswith(" ".join(["-c", "/api/constraints.txt", *packages])) for line in runs), runs
    assert f"ADD . /deps/{source.name}" in dockerfile
    for line in runs:
        subprocess.run(["bash", "-n", "-c", line], check=True)
        assert not re.search(r"[^0-9&]>(?![/&])", line), "a bound on a version would be a redirection here"


def test_the_files_of_the_image_answer(dockerfile: str, source: Path, tmp_path: Path) -> None:
    graphs = json.loads(re.search(r"LANGSERVE_GRAPHS='(.*)'", dockerfile)[1])  # type: ignore[index]
    path, _, name = graphs["agentflow"]["path"].partition(":")
    file = source / Path(path).relative_to(f"/deps/{source.name}")
    program = (  # the server too loads the module from its file
        "import importlib.util as util, sys\n"
        "spec = util.spec_from_file_location('served', sys.argv[1])\n"
        "module = util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(getattr(module, sys.argv[2]).invoke({'question': 'q'}, context={'tools': ['generalist']})['answer'])\n"
    )
    with FakeModelServer(script(planner=plan_text("generalist"), executor="What is it?")) as server:
        environment = {**os.environ, "PYTHONPATH": str(source), "AGENTFLOW_MODEL": server.spec}
        done = subprocess.run(
            [sys.executable, "-c", program, file, name],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert (done.stdout, done.returncode) == ("42\n", 0), done.stderr


def test_no_setting_reaches_the_image(source: Path) -> None:
    assert not [path for path in source.iterdir() if path.name.startswith(".env")]
    assert not (source / "tests").exists()
