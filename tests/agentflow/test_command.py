"""`agentflow COMMAND`: the programs of the project behind one name."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
from contextvars import copy_context
from pathlib import Path

import pytest

from agentflow.command import COMMANDS, TRAINING, find, main
from evals.speed.fake_server import FakeModelServer
from graph.errors import ConfigError
from tests.graph.conftest import script

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", [*COMMANDS.values(), *TRAINING.values()])
def test_every_command_has_a_program(command: object) -> None:
    program = importlib.import_module(command.module).main  # type: ignore[attr-defined]
    inspect.signature(program).bind(["argument"])


@pytest.mark.parametrize(
    ("words", "module", "arguments"),
    [
        (["ask", "Why?"], "graph.__main__", ["Why?"]),
        (["chat", "--model", "embedded"], "graph.__main__", ["--chat", "--model", "embedded"]),
        (["view", "runs/a"], "evals.__main__", ["view", "runs/a"]),
        (["evals", "list"], "evals.__main__", ["list"]),
        (["models", "remove", "0.5b"], "graph.models.__main__", ["remove", "0.5b"]),
        (["train", "--config", "a.yaml"], "training.flow_grpo.__main__", ["--config", "a.yaml"]),
        (["train", "plan", "--gpus", "1"], "training.plan.__main__", ["--gpus", "1"]),
        (["train"], "training.flow_grpo.__main__", []),
    ],
)
def test_words_lead_to_a_program_and_its_arguments(words: list[str], module: str, arguments: list[str]) -> None:
    command, rest = find(words)
    assert command is not None
    assert (command.module, [*command.arguments, *rest]) == (module, arguments)


def test_an_unknown_command_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no command 'trian'.*Did you mean train\?"):
        find(["trian"])
    with pytest.raises(ConfigError, match="agentflow ask 'How many days'"):
        find(["How many days"])


@pytest.mark.parametrize(
    "words", [["ask"], ["chat"], ["view"], ["evals", "run"], ["models", "get"], ["train"], ["train", "plan"]]
)
def test_a_command_calls_itself_what_the_user_typed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    copy_context().run(main, [*words, "--no-such-option"])
    told = capsys.readouterr().err
    assert f"`agentflow {' '.join(words)} --help`" in told
    assert "python -m" not in told


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"]):
        assert main(words) == 0
        shown = capsys.readouterr().out
        assert all(f" {name} " in shown for name in [*COMMANDS, *TRAINING])
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("agentflow-langgraph")


def test_a_tool_in_the_working_directory_is_found_by_its_import_path(tmp_path: Path) -> None:
    (tmp_path / "my_tools.py").write_text(
        "from langchain_core.tools import tool\n\n@tool\ndef double(number: int) -> int:\n"
        '    """Double a number."""\n    return 2 * number\n'
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with FakeModelServer(script()) as server:
        words = ["ask", "What is twice 21?", "--model", server.spec, "--tools", "my_tools:double", "--json"]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "agentflow", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    state = json.loads(done.stdout)
    assert (state["answer"], state["memory"][0]["calls"][0]["result"]) == ("42", "42")
