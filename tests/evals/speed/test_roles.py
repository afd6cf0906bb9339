"""The seconds of a question by role: what a trace is taken apart into, and models that cannot be taken apart."""

from __future__ import annotations

import sys

import pytest

from evals.speed.__main__ import main
from evals.speed.roles import spent_of


def test_the_parts_of_a_run_add_up_to_its_seconds() -> None:
    called = {"input_tokens": 700, "output_tokens": 20, "cached_tokens": 600}
    steps = [
        {"role": "planner", "seconds": 3.0, "reading_seconds": 1.0, "writing_seconds": 1.5, **called},
        {"tool": "python", "seconds": 0.2},
        {"role": "planner", "seconds": 2.0, "reading_seconds": 0.5, "writing_seconds": 1.5, **called},
        {"role": "verifier", "seconds": 1.0, **called},
    ]
    spent = spent_of(steps, 7.0)
    assert spent.reading == {"planner": 1.5, "verifier": 0.0}
    assert spent.writing == {"planner": 3.0, "verifier": 0.0}
    assert spent.waiting == {"planner": 0.5, "verifier": 1.0}
    assert spent.read_tokens == {"planner": 200, "verifier": 100}
    assert spent.written_tokens == {"planner": 40, "verifier": 20}
    parts = sum(sum(part.values()) for part in (spent.reading, spent.writing, spent.waiting))
    assert parts + spent.tools + spent.rest == pytest.approx(7.0)


def test_only_an_embedded_model_is_measured_by_role(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["speed", "--model", "m@http://127.0.0.1:9/v1", "--questions", "2"])
    assert main() == 2
    assert "is not an embedded model" in capsys.readouterr().err
