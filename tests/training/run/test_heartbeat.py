"""A log is told that something still goes on."""

from __future__ import annotations

import threading

import pytest

from training.run.heartbeat import FIRST, heartbeat


def test_lines_come_while_the_work_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    asked = threading.Semaphore(0)

    def line() -> str:
        asked.release()
        return "3 of 8"

    with heartbeat(line, first=0.01, every=0.01):
        assert all(asked.acquire(timeout=60) for _ in range(3))
    assert capsys.readouterr().err.startswith("  3 of 8\n  3 of 8\n")


def test_the_first_line_does_not_wait_as_long_as_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    asked = threading.Event()

    def line() -> str:
        asked.set()
        return "0 of 8"

    with heartbeat(line, first=0.01, every=600.0):
        assert asked.wait(60)
    assert FIRST <= 10.0


def test_quick_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with heartbeat(lambda: "never", first=600.0):
        pass
    assert capsys.readouterr().err == ""
