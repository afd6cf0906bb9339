"""The map of the house, in the docstrings of its folders, is complete and true; what they hand on can be imported."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in (ROOT / "training").rglob("*/__init__.py"))
COMMANDS = [path.parent.name for path in (ROOT / "training").glob("*/__main__.py")]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_every_folder_says_what_its_files_are(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()), clean=False) or ""
    named = set(re.findall(r"^ *(\w+\.py|\w+/)  ", text, re.MULTILINE))
    files = {path.name for path in folder.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert named == files | {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}


def test_the_package_says_what_can_be_run() -> None:
    import training

    runnable = {*COMMANDS, *(path.stem for path in (ROOT / "training").glob("*.py") if "main(" in path.read_text())}
    assert set(re.findall(r"python -m training\.(\w+)", training.__doc__ or "")) == runnable


def test_the_objective_names_functions_that_exist() -> None:
    import importlib

    import training.algo

    names = re.findall(r"training(?:\.\w+){3}", training.algo.__doc__ or "")
    assert len(names) == 8
    for name in names:
        module, _, function = name.rpartition(".")
        assert callable(getattr(importlib.import_module(module), function))


def test_names_are_handed_on_without_loading_anything() -> None:
    script = (
        "import sys, training, training.flow_grpo, evals.benchmarks\n"
        "assert not {'torch', 'langgraph', 'numpy'} & set(sys.modules)\n"
        "from training import Agent, GraphAgent, PlannerTurn, Rollout\n"
        "from training.flow_grpo import FlowGRPOConfig, train\n"
        "from evals.benchmarks import BENCHMARKS, Benchmark, benchmark, load_tasks, sample\n"
        "from training.flow_grpo import train\n"
        "assert callable(train) and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
