"""The cores that the embedded model gets."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.models import cores
from graph.models.cores import free_cores, idle_cpus, usable_cores


def reading(*idle: int, at: int = 0) -> str:
    """`/proc/stat` after `at` ticks of which each CPU was idle for so many."""
    rows = [f"cpu{cpu} {100 + at - free} 0 20 {5000 + free} 3 0 0 0 7 0" for cpu, free in enumerate(idle)]
    return "\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *rows, "intr 5 6 7", "ctxt 1"])


def test_busy_cpus_are_told_from_idle_ones() -> None:
    before, after = reading(0, 0, 0, 0), reading(100, 50, 0, 100, at=100)
    assert idle_cpus(before, after, {0, 1, 2, 3}) == pytest.approx(2.5)
    assert idle_cpus(before, after, {2}) == 0
    assert idle_cpus(before, after, {0, 9}) == 1  # a CPU that the system does not tell of is not counted
    assert idle_cpus(before, before, {0, 1}) == 2  # no time has passed


@given(st.lists(st.integers(0, 25), min_size=1, max_size=8))
def test_the_model_gets_what_is_idle_but_one_core_at_least(idle: list[int]) -> None:
    readings = iter([reading(*[0] * len(idle)), reading(*idle, at=25)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cores, "usable_cores", lambda: len(idle))
        patch.setattr(cores, "_own_cpus", lambda: set(range(len(idle))))
        patch.setattr(cores, "_text", lambda _: next(readings))
        patch.setattr(cores.time, "sleep", lambda _: None)
        free = free_cores()
    assert 1 <= free <= len(idle)
    if len(idle) > 1:
        assert free == max(1, round(sum(idle) / 25))


def test_where_the_system_tells_nothing_all_cores_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_text", lambda _: "")
    monkeypatch.setattr(cores, "usable_cores", lambda: 4)
    assert free_cores() == 4


def test_threads_never_exceed_the_cpus() -> None:
    assert 1 <= free_cores() <= usable_cores() <= (os.cpu_count() or 1)
