"""`python -m graph`, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evals.speed.fake_server import ChatReply, FakeModelServer
from graph.__main__ import main
from tests.graph.conftest import calls_text, plan_text, verdict_text

Serve = Callable[..., FakeModelServer]
TOOL = "tests.graph.conftest:double_tool"
ROOT = Path(__file__).parents[2]


def test_steps_and_answer_are_shown(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = serve(planner=[plan_text("calculator"), plan_text("double", "double 21")])
    assert main(["What is 2 x 21?", "--model", server.spec, "--tools", TOOL]) == 0
    captured = capsys.readouterr()
    assert captured.out == "42\n", "the answer alone, where there is no terminal"
    shown = captured.err
    assert "\x1b" not in shown
    for words in (
        "A number is asked for.",
        "no tool 'calculator'",
        "double: double 21",
        "accepted, stop",
        "2 turns",
        "verifier",
    ):
        assert words in shown


def test_json_is_the_only_output(serve: Serve, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    saved = tmp_path / "run.json"
    command = ["q", "--model", serve().spec, "--tools", TOOL, "--json", "--report", "--save", str(saved)]
    assert main(command) == 0
    captured = capsys.readouterr()
    state = json.loads(captured.out)
    assert {"question", "analysis", "memory", "answer", "report", "usage"} <= set(state)
    assert (state["answer"], state["memory"][0]["calls"][0]["result"]) == ("42", "42")
    assert "planner_turns" not in state
    assert captured.err == ""
    document = json.loads(saved.read_text())
    trace = document.pop("trace")
    assert document == {"schema": 1, "finished": True, **state}
    assert [step.get("role") or step["tool"] for step in trace["steps"]][:4] == [
        "analyst",
        "planner",
        "executor",
        "double",
    ]


def test_the_bare_model_is_asked_directly(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["q", "--model", serve().spec, "--mode", "direct", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == "7"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tools", "pythom"], "pythom"),
        (["--tools", "no.such.module:tool"], "no.such.module"),
        (["--tools", "local_search"], "--corpus"),
        (["--tools", "local_search", "--corpus", "no/such/file.jsonl"], "no/such/file.jsonl"),
        (["--tools", ","], "tools"),
        (["--max-turns", "0"], "max_turns"),
        (["--temperature", "-1"], "temperature"),
        (["--model", "nonsense"], "nonsense"),
        (["--mcp", "no/such/file.json"], "no/such/file.json"),
        (["--save", "no/such/folder/run.json", "--model", "m@http://127.0.0.1:9/v1"], "no/such/folder"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    serve: Serve, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    command = ["q", "--model", serve().spec, *arguments, "--json"]
    assert main(command) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (ChatReply("Incorrect API key provided: sk-secret", status=401), "key"),
        (ChatReply("The model `fake` does not exist", status=404), "fake"),
    ],
)
def test_a_refusal_of_the_server_is_told(
    serve: Serve, capsys: pytest.CaptureFixture[str], reply: ChatReply, words: str
) -> None:
    assert main(["q", "--model", serve(analyst=reply).spec, "--tools", TOOL]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "sk-secret" not in error
    assert "Traceback" not in error


def test_a_refused_connection_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["q", "--model", "m@http://127.0.0.1:9/v1", "--tools", TOOL]) == 2
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_an_empty_question_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([" "]) == 2
    assert "question is empty" in capsys.readouterr().err


def test_the_environment_gives_defaults_and_options_win(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fallback, explicit = serve(), serve()
    monkeypatch.setenv("AGENTFLOW_MODEL", fallback.spec)
    monkeypatch.setenv("AGENTFLOW_TOOLS", TOOL)
    assert main(["q", "--json"]) == 0
    assert len(fallback.requests) == 5
    monkeypatch.setenv("AGENTFLOW_PLANNER_MODEL", fallback.spec)
    assert main(["q", "--json", "--model", explicit.spec]) == 0
    assert (len(fallback.requests), len(explicit.requests)) == (5, 5)
    capsys.readouterr()


def start(server: FakeModelServer, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "graph", "q", "--model", server.spec, "--tools", TOOL, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env={**os.environ})


def test_ctrl_c_ends_with_the_best_answer_so_far(serve: Serve, tmp_path: Path) -> None:
    server = serve(
        executor=[calls_text({"number": 21}), calls_text({"number": 2})],
        verifier=[verdict_text(then="continue"), ChatReply(verdict_text(), delay=60)],
    )
    process = start(server, "--json", "--save", str(tmp_path / "run.json"))
    deadline = time.monotonic() + 60
    while len(server.asked("verifier")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    state = json.loads(out)
    assert (process.returncode, state["answer"], state["ended_by"]) == (0, "42", "interrupt")
    assert len(state["memory"]) == 1
    steps = json.loads((tmp_path / "run.json").read_text())["trace"]["steps"]
    assert [step["turn"] for step in steps if step.get("role") == "generator"] == [1]
    assert "Interrupted" in err


def test_a_human_is_asked_at_the_terminal(serve: Serve) -> None:
    process = start(serve(), "--json", "--ask-before", "double", "--max-turns", "1")
    out, err = process.communicate("too dear\n", timeout=60)
    assert '{"number": 21}' in err
    assert "too dear" in json.loads(out)["memory"][0]["calls"][0]["error"]["message"]
