"""Which tools runs use: shares and their changes, errors, combinations that are new."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.__main__ import main
from evals.reports.tools import PathOfRun, ToolUse, change_cells, changes, tool_use, unseen
from tests.evals.view.samples import evaluation, training


def turn(tool: str, kind: str = "", calls: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    error = {"kind": kind, "message": "."} if kind else None
    return {
        "plan": {"tool_name": tool, "error": error if kind == "plan" else None},
        "calls": calls or [],
        "error": error,
    }


def test_the_tools_of_a_run() -> None:
    memory = [
        turn("", "plan"), turn("abacus", "unknown_tool"), turn("python", "tool"), turn("search"), turn("search"),
        turn("python"), turn("search", "repeat"), turn("finish"),
    ]  # fmt: skip
    use = tool_use(memory)
    assert use.turns == 8
    assert use.tools == Counter(python=2, search=3, none=1, unknown=1, finish=1)
    assert use.errors == Counter(plan=1, unknown_tool=1, tool=1, repeat=1)
    assert use.failed == 2, "a call of no tool and one that failed; a plan or a repetition is no error of a tool"
    assert use.path == ("search", "python")


def test_another_agents_turn_uses_the_tools_of_all_its_calls() -> None:
    calls = [{"tool": "map", "error": None}, {"tool": "abacus", "error": {"kind": "unknown_tool"}}, {"tool": "clock"}]
    assert tool_use([turn("map", calls=calls)]).tools == Counter(map=1, unknown=1, clock=1)
    assert tool_use([turn("map", calls=[calls[0], calls[2]])]).path == ("clock", "map")


USES = st.lists(st.sampled_from(["python", "search", "finish"]), min_size=1, max_size=4).map(
    lambda tools: tool_use([turn(tool, "tool" if tool == "search" else "") for tool in tools])
)


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(USES, min_size=1, max_size=2), min_size=1), st.data())
def test_shares_are_of_all_turns_and_their_difference_lies_in_its_interval(
    before: dict[str, list[ToolUse]], data: st.DataObject
) -> None:
    after = {question: [data.draw(USES)] for question in before} | {"other": [tool_use([turn("clock")])]}
    tools, errors = changes(before, after)
    means = {question: [np.mean([use.tools["python"] for use in runs]), np.mean([use.turns for use in runs])]
             for question, runs in before.items()}  # fmt: skip
    with_python, every = np.sum(list(means.values()), axis=0)
    shares = {change.name: change for change in tools}
    assert "clock" not in shares, "a question that only one set has"
    if "python" in shares:
        assert shares["python"].before == pytest.approx(with_python / every)
    assert sum(change.after for change in tools) == pytest.approx(1.0)
    for change in (*tools, *errors):
        low, high = change.interval
        assert -1 <= low <= high <= 1
    assert errors[0].after == pytest.approx(shares["search"].after if "search" in shares else 0.0)
    same, _ = changes(before, before)
    assert all(change.interval == (0.0, 0.0) for change in same)


def test_an_interval_is_as_wide_as_theory_has_it() -> None:
    """One turn a run: the difference of two shares paired by question is a mean."""
    before = {str(n): [tool_use([turn("python" if n % 2 else "search")])] for n in range(400)}
    after = {str(n): [tool_use([turn("python" if n % 4 else "search")])] for n in range(400)}
    python = next(change for change in changes(before, after)[0] if change.name == "python")
    differences = np.array([(n % 4 > 0) - (n % 2) for n in range(400)])
    half = 1.96 * differences.std() / 20
    assert python.after - python.before == pytest.approx(0.25)
    assert python.interval == pytest.approx((0.25 - half, 0.25 + half), abs=0.01)
    assert ["turns with python", "50.0 %", "75.0 %"] in [row[:3] for row in change_cells([python], [], "a", "b")]


def test_combinations_that_no_earlier_run_used() -> None:
    before = [("search",), ("python", "search"), ("clock",)]
    after = [
        PathOfRun("r1", ("search", "python"), True), PathOfRun("r2", ("clock", "search", "clock"), False),
        PathOfRun("r3", ("search", "clock"), True), PathOfRun("r4", ("map",), True),
    ]  # fmt: skip
    [pair] = unseen(before, after)
    assert (pair.tools, pair.runs, pair.right, pair.example) == (("clock", "search"), 2, 1, "r2")
    ordered = unseen(before, after, ordered=True)
    assert [each.tools for each in ordered] == [("clock", "search", "clock"), ("search", "clock"), ("search", "python")]


def test_the_command_finds_them_in_any_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = training(tmp_path / "before", steps=1), evaluation(tmp_path / "after")
    assert main(["combinations", str(after), "--before", str(before)]) == 0
    told = capsys.readouterr().out
    assert "of 30 runs use tools together that none of the 16 earlier runs did." in told
    assert "| local_search + python |" in told
    assert main(["combinations", str(after), "--before", str(after)]) == 0
    assert capsys.readouterr().out.startswith("0 of 30 runs")
    assert main(["combinations", str(after), "--before", str(tmp_path / "nowhere")]) == 2
    assert "nothing at" in capsys.readouterr().err
