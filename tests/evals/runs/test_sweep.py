"""`python -m evals sweep`: a benchmark at several turn limits, with the real graph and a fake model server."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from evals.__main__ import main
from evals.reports.turn_limits import Point
from evals.results import read_run
from evals.speed.fake_server import ChatRequest, FakeModelServer

QUESTIONS = 6


class Floors:
    """A model that reaches the n-th floor in n steps, and knows its code word only from there."""

    def __init__(self) -> None:
        self.steps: Counter[int] = Counter()
        self.lazy = False
        """Whether it stops on the first floor."""

    def __call__(self, request: ChatRequest) -> str:
        text = " ".join(str(message["content"]) for message in request.messages)
        floor = int(re.findall(r"floor number (\d+)", text)[0])
        there = self.steps[floor] >= floor
        if request.role == "planner":
            self.steps[floor] += 1
            return (
                f"Justification: up.\nContext: floor number {floor}\nSub-Goal: climb to storey {self.steps[floor]} for "
                f"floor number {floor}\nTool Name: generalist"
            )
        if request.role == "executor":
            return json.dumps({"calls": [{"question": f"storey {self.steps[floor]} of floor number {floor}?"}]})
        if request.role == "verifier":
            done = there or self.lazy
            return json.dumps({"reason": "a storey", "result": "accept", "next": "stop" if done else "continue"})
        if request.role == "generator":
            self.steps[floor] = 0
            return f"Answer: word{floor}" if there else "Answer: I do not know"
        return f"You are on storey {self.steps[floor]} of floor number {floor}."


@pytest.fixture
def floors() -> Floors:
    return Floors()


@pytest.fixture
def server(floors: Floors) -> Iterator[FakeModelServer]:
    with FakeModelServer(floors) as running:
        yield running


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "floors.jsonl"
    rows = [
        {"id": f"f{n}", "question": f"What is the code word of floor number {n}?", "answers": [f"word{n}"]}
        for n in range(1, QUESTIONS + 1)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def command(questions: Path, server: FakeModelServer, out: Path, limits: str, *more: str) -> list[str]:
    return [
        "sweep", "own", "--data", str(questions), "--model", server.spec, "--tools", "generalist", "--checks", "off",
        "--out", str(out), "--no-progress", "--max_turns", limits, *more,
    ]  # fmt: skip


def test_a_sweep_draws_accuracy_and_turns_and_a_second_one_beside_it(
    questions: Path, server: FakeModelServer, floors: Floors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    floors.lazy = True
    assert main(command(questions, server, tmp_path / "lazy", "1,3")) == 0
    floors.lazy = False
    floors.steps.clear()
    assert main(command(questions, server, tmp_path / "tall", "3,1", "--against", str(tmp_path / "lazy"))) == 0
    out = capsys.readouterr().out
    rows = re.findall(r"\| \S*/(\w+) \| (\d) \| (\S+) % \| .*? \| (\S+) \| .*? \| 6 \|", out)
    assert rows[2:] == [
        ("lazy", "1", "16.7", "1.00"), ("lazy", "3", "16.7", "1.00"),
        ("tall", "1", "16.7", "1.00"), ("tall", "3", "50.0", "2.50"),
    ]  # fmt: skip
    changes = out.rpartition("against")[2]
    assert "| 1 | +0.0 | +0.0 to +0.0 | +0.00 | +0.00 to +0.00 | 6 |" in changes
    assert "| 3 | +33.3 | +0.0 to +66.7 | +1.50 |" in changes
    figure = ElementTree.parse(tmp_path / "tall" / "sweep.svg")
    assert len(figure.findall(".//{*}polyline")) == 4  # two curves in two panels
    assert [title.text for title in figure.findall(".//{*}title")][3] == "limit 3: 50.00 (18.76 to 81.24)"
    assert "![" in (tmp_path / "tall" / "sweep.md").read_text()


def test_an_interrupted_sweep_goes_on(questions: Path, server: FakeModelServer, tmp_path: Path) -> None:
    again = command(questions, server, tmp_path / "sweep", "1,2")
    assert main(again) == 0
    whole = (tmp_path / "sweep" / "sweep.md").read_text()
    results = tmp_path / "sweep" / "turns-2" / "results.jsonl"
    results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:2]) + b'{"schema"')
    untouched = (tmp_path / "sweep" / "turns-1" / "results.jsonl").read_bytes()
    assert main(again) == 0
    assert (tmp_path / "sweep" / "sweep.md").read_text() == whole
    assert len(read_run(tmp_path / "sweep" / "turns-2").results) == QUESTIONS
    assert (tmp_path / "sweep" / "turns-1" / "results.jsonl").read_bytes() == untouched


@pytest.mark.parametrize(
    ("limits", "more", "words"),
    [
        ("1,x", [], "'1,x'; give whole numbers from 1"),
        ("0,1", [], "give whole numbers from 1"),
        ("1," + "9" * 5000, [], "give whole numbers from 1"),
        ("1,2", ["--mode", "direct"], "--tools, --checks need the agent"),
        ("1,2", ["--against", "nowhere"], "nowhere holds no sweep"),
        ("1,2", ["--samples", "0"], "--samples is 0"),
    ],
)
def test_mistakes_are_told(
    questions: Path, server: FakeModelServer, tmp_path: Path, limits: str, more: list[str], words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(command(questions, server, tmp_path / "sweep", limits, *more)) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


def test_runs_of_another_sweep_are_not_mixed_in(
    questions: Path, server: FakeModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(questions, server, tmp_path / "sweep", "1", "--seed", "1")) == 0
    assert main(command(questions, server, tmp_path / "sweep", "2", "--seed", "2")) == 2
    assert "differ in seed" in capsys.readouterr().err


def test_a_point_is_the_mean_over_questions() -> None:
    point = Point(3, {"a": (1.0, 2.0), "b": (0.5, 4.0)})
    assert (point.accuracy, point.turns) == (0.75, 3.0)
    assert point.interval[0] < 0.75 < point.interval[1]
    assert point.turns_interval == (2.0, 4.0)
