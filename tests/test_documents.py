"""README and docs: links lead somewhere, files exist, Python is valid, and commands know the options they are given."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from training.flow_grpo.config import FlowGRPOConfig

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
OURS = ("graph", "tools", "evals", "training", "agentflow")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """Fenced blocks of a language, with the document that they stand in."""
    found = [(path, match) for path in DOCUMENTS for match in _FENCE.finditer(path.read_text(encoding="utf-8"))]
    return [(path.name, match[2]) for path, match in found if match[1] == language]


def commands() -> list[tuple[str, list[str]]]:
    """Words of every documented command of ours, its continuation lines joined and its comment dropped."""
    found = []
    for name, block in blocks("bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.strip(), comments=True)
            if words[:2] == ["python", "-m"] and words[2].split(".")[0] in OURS:
                found.append((name, words[2:]))
            elif words[:1] == ["agentflow"]:
                found.append((name, words))
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_and_modules_that_are_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    files = re.findall(
        r"`((?:graph|tools|evals|training|tests|examples|docs)/[\w/.-]+\.(?:py|yaml|md|jsonl|json))", text
    )
    assert [name for name in files if not (ROOT / name).exists() and "NAME" not in name] == []
    modules = re.findall(r"`((?:graph|tools|evals|training)(?:\.[a-z_]+)+)`", text)
    assert [name for name in modules if not name.endswith(".py") and not _exists(name)] == []


def _exists(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file() or place.parent.with_suffix(".py").is_file()


def test_lines_of_the_readme_are_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 170
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize(("name", "block"), blocks("python"))
def test_python_blocks_are_valid_and_import_what_exists(name: str, block: str) -> None:
    body = block.replace("=...", "=None")
    tree = ast.parse("async def _():\n" + re.sub(r"(?m)^", "    ", body))  # some await
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
            module = importlib.import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@cache
def help_of(words: tuple[str, ...]) -> str:
    command = [sys.executable, "-m", *words, "--help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


SUBCOMMANDS = ("evals", "training.replay", "graph.models")


@pytest.mark.parametrize(("name", "words"), commands(), ids=lambda value: value if isinstance(value, str) else value[0])
def test_commands_know_their_options(name: str, words: list[str]) -> None:
    if words[0] == "agentflow":
        pytest.skip("a console script; tests/agentflow has its tests")
    assert _exists(words[0]), words[0]
    path = [words[0]]
    if words[0] in SUBCOMMANDS and len(words) > 1 and not words[1].startswith("-"):
        path.append(words[1])
    told = help_of(tuple(path))
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    settings = {field.name for field in fields(FlowGRPOConfig)} if words[0] == "training.validate" else set()
    unknown = [option for option in options if option not in told and option[2:].replace("-", "_") not in settings]
    assert not unknown
