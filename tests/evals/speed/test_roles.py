"""The seconds of a question by role: what a trace is taken apart into, and models that cannot be taken apart."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from evals.speed.__main__ import main
from evals.speed.roles import RolesReport, Spent, spent_of
from evals.speed.table import table


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


def test_the_table_tells_where_the_seconds_go() -> None:
    cold = Spent(
        total=20.0, start=2.0, tools=1.0, rest=0.5,
        reading={"verifier": 4.0, "planner": 6.0}, writing={"verifier": 1.0, "planner": 3.0},
        waiting={"verifier": 0.5, "planner": 2.0},
        read_tokens={"verifier": 1200.0, "planner": 30.4}, written_tokens={"verifier": 40.0, "planner": 60.0},
    )  # fmt: skip
    warm = replace(cold, total=10.0, reading={"verifier": 0.5, "planner": 0.5})
    rows = [line.split() for line in table(RolesReport("m", 2, 20.0, 10.0, 1.0, 0.5, cold, warm)).splitlines()]
    assert ["cold", "20.0", "s", "100%"] in rows
    assert ["warm", "10.0", "s", "50%"] in rows
    assert ["start", "2.0"] in rows
    planner, verifier = (row for row in rows[: len(rows) // 2 + 4] if row[:1] in (["planner"], ["verifier"]))
    assert planner == ["planner", "6.0", "3.0", "2.0", "11.0", "30", "60"]
    assert verifier == ["verifier", "4.0", "1.0", "0.5", "5.5", "1,200", "40"]
    assert ["all", "10.0", "4.0", "2.5", "20.0", "1,230", "100"] in rows


def test_only_an_embedded_model_is_measured_by_role(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["speed", "--model", "m@http://127.0.0.1:9/v1", "--questions", "2"])
    assert main() == 2
    assert "is not an embedded model" in capsys.readouterr().err
