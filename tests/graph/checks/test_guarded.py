"""A check that fails ends no run."""

from __future__ import annotations

import logging

import pytest

from graph import Context, build_graph
from graph.checks.guarded import guarded
from tests.graph.conftest import TAKEN, Serve, calls_text, judged, passages_tool, plan_text


def test_what_a_failing_check_finds_is_what_it_is_given_instead(caplog: pytest.LogCaptureFixture) -> None:
    def fails(number: int) -> int:
        return 1 // number

    check = guarded(fails, lambda number: number)
    assert (check(1), check(0)) == (1, 0)
    assert "fails" in caplog.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "broken",
    [
        "graph.checks.plans.unsupported_names",
        "graph.checks.arguments.unsupported_names",
        "graph.checks.arguments.names_something",
        "graph.checks.steps._key",
        "graph.checks.answers.content_words",
        "graph.checks.coverage.amounts_in",
        "graph.checks.verdicts.unsupported_numbers",
        "graph.checks.excerpts.fence_of",
        "graph.checks.computing.is_computed",
    ],
)
async def test_a_run_goes_on_without_a_failing_check(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    server = serve(planner=plan_text("look_up"), executor=calls_text({"name": "place"}), verifier=judged("1842"))
    graph = build_graph(tools=[passages_tool(plain_words=True), "python"])

    def fail(*_: object, **__: object) -> None:
        raise ArithmeticError("broken on purpose")

    monkeypatch.setattr(broken, fail)
    with caplog.at_level(logging.ERROR):
        state = await graph.ainvoke({"question": TAKEN}, context=Context(model=server.spec, checks="on"))
    assert (state["answer"], state["ended_by"]) == ("1842", "verifier")
    assert "broken on purpose" in caplog.text
