"""Reports at a terminal: aligned tables, on their side where they are too wide, and Markdown elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from evals.__main__ import main
from evals.reports.metrics import summarise
from evals.results import read_run
from tests.evals.reports.test_report import folder, result, turn


def terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Make standard output a terminal; pytest gives each test another one, so no fixture can."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))


def shown_by(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on standard output, without their styles."""
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


def test_a_narrow_terminal_gets_a_line_for_each_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(monkeypatch, 72)
    run = folder(tmp_path / "before", [result("a", True), result("b", False)])
    assert main(["report", str(run)]) == 0
    lines = shown_by(capsys)
    assert not any("|" in line for line in lines)
    assert max(map(len, lines)) <= 72
    rows = [line.split() for line in lines]
    assert ["exact", "50.0", "%"] in rows
    assert ["run", "before"] in rows


def test_a_wide_terminal_gets_a_line_for_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(monkeypatch, 300)
    runs = [folder(tmp_path / name, [result("a", True), result("b", False)]) for name in ("before", "after")]
    assert main(["report", *map(str, runs)]) == 0
    lines = shown_by(capsys)
    head = next(line for line in lines if "run" in line and "exact" in line)
    row = next(line for line in lines if line.strip().startswith("before") and "own" in line)
    assert row[: head.index("exact") + len("exact")].endswith("50.0 %"), "figures end below the end of their heads"
    assert main(["compare", *map(str, runs)]) == 0
    shown = "\n".join(shown_by(capsys))
    assert "|" not in shown
    assert "after against before, 2 questions in common." in shown
    assert "There is no significant difference (95 % bootstrap interval" in shown


def test_invented_tools_count_as_unknown(tmp_path: Path) -> None:
    error = {"kind": "unknown_tool", "message": "there is no tool"}
    invented = [turn(tool=f"tool{number}") | {"error": error} for number in range(3)]
    run = folder(tmp_path / "run", [result("a", True, turns=[*invented, turn("python"), turn("")])])
    assert summarise(read_run(run)).tools == {"unknown": 3, "python": 1, "none": 1}
