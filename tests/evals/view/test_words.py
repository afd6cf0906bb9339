"""The terminal and the page say the same about the same run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from evals.speed.fake_server import FakeModelServer
from evals.view.details import details
from evals.view.documents import plain
from evals.view.tokens import TokenTexts
from graph.__main__ import main
from tests.graph.conftest import calls_text, plan_text, script, verdict_text

TOOL = "tests.graph.conftest:double_tool"


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    """A run with an unreadable step, a failing call and a good one."""
    replies = script(
        planner=["I had rather not.", plan_text("double"), plan_text("double", goal="find it again")],
        executor=[calls_text({"number": -1}), calls_text({"number": 21})],
        verifier=verdict_text(reason="it is 42"),
    )
    with FakeModelServer(replies) as running:
        yield running


def test_the_page_words_a_run_as_the_terminal_does(
    server: FakeModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    saved = tmp_path / "run.json"
    assert main(["What is twice 21?", "--model", server.spec, "--tools", TOOL, "--save", str(saved)]) == 0
    terminal = capsys.readouterr().err
    run = details(plain(saved.read_bytes(), "run"), TokenTexts(tmp_path))
    assert len(run["turns"]) == 3
    for number, turn in enumerate(run["turns"], 1):
        assert f"turn {number}" in terminal
        for words in (turn["planned"], turn["judged"], *(call["given"] for call in turn["calls"])):
            assert words in terminal
    assert run["ended"].split(",")[0] in terminal
    assert f"ended by {json.loads(saved.read_text())['ended_by']}" in terminal
    for head in run["usage"]["columns"]:
        assert head in terminal
    assert {row[0] for row in run["usage"]["rows"]} == {"analyst", "planner", "executor", "verifier", "generator"}
