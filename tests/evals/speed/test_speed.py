"""The overhead benchmark itself; its figures are checked loosely, since test machines are busy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from evals.speed.__main__ import main
from evals.speed.fake_server import FakeModelServer
from evals.speed.programs import measure_programs
from evals.speed.questions import measure_questions
from evals.speed.rollouts import bench_tools, measure, measure_ahead, serving
from graph import Context


def test_runs_are_measured_and_right() -> None:
    report = measure(rollouts=24, turns=3, latency_ms=20)
    assert report.model_calls_per_rollout == 11
    assert report.ideal_seconds == 0.22
    assert report.ideal_seconds < report.seconds < 30
    assert 0 < report.cpu_seconds_per_rollout < 0.2


def test_two_processes_share_the_rollouts() -> None:
    report = measure(rollouts=5, turns=2, latency_ms=5, processes=2)
    assert report.model_calls_per_rollout == 8
    assert report.processes == 2
    assert report.memory_mb > 20


def test_the_command_prints_json_alone() -> None:
    command = [sys.executable, "-m", "evals.speed", "--rollouts", "4", "--turns", "1", "--latency-ms", "5", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert {"seconds", "ideal_seconds", "model_calls_per_rollout", "cpu_ms_per_call"} <= set(report)
    assert report["model_calls_per_rollout"] == 5


def test_runs_that_plan_ahead_are_compared_with_plain_ones() -> None:
    report = measure_ahead(rollouts=3, turns=3, latency_ms=5)
    assert report.same == report.questions == 3
    assert (report.plain_calls, report.ahead_calls, report.discarded_calls) == (11, 12, 1)
    assert report.turns == 3
    assert report.plain_seconds > 11 * 0.005


def test_planning_ahead_is_measured_with_a_model_on_the_packaged_questions() -> None:
    replies = {
        "analyst": "A fact is asked.",
        "planner": "Justification: it helps\nContext: none\nSub-Goal: find it\nTool Name: local_search",
        "executor": '{"calls": [{"query": "Port Ellery harbour"}]}',
        "verifier": '{"reason": "it is told", "result": "accept", "answer": "", "missing": "", "next": "stop"}',
        "generator": "Answer: 1683",
    }
    with FakeModelServer(lambda request: replies[request.role]) as server:
        report = measure_ahead(rollouts=2, turns=3, latency_ms=5, model=server.spec, seed=1)
        assert "Port Ellery" in str(server.asked("verifier")[0].messages)
    assert (report.questions, report.same, report.turns) == (2, 2, 1)
    assert report.discarded_calls == 1


def test_an_evaluation_is_measured() -> None:
    with serving(turns=2, latency_ms=5) as url:
        report = measure_questions(4, bench_tools(), Context(model=f"fake@{url}", max_turns=2))
    assert (report.questions, report.accuracy) == (4, 1.0)
    assert 0 < report.cpu_seconds_per_question < 0.5


def test_programs_in_the_sandbox_are_measured() -> None:
    report = measure_programs(4)
    assert report.programs == 4
    assert 0 < report.interpreter_cpu_ms < report.cpu_ms
    assert report.cpu_ms_at_once > report.interpreter_cpu_ms


def test_where_there_is_no_sandbox_a_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(sys, "argv", ["speed", "--programs", "2"])
    assert main() == 2
    assert "There is no sandbox to measure: " in capsys.readouterr().err


def test_senseless_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["speed", "--rollouts", "0"])
    assert main() == 2
