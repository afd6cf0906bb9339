"""One vocabulary says what became of a run that raised."""

from __future__ import annotations

import errno

import httpx
import pytest

from evals.runs.failures import classify, unavailable_tool
from graph.errors import (
    ConfigError,
    ContextLengthExceeded,
    DataError,
    ModelError,
    ModelRejected,
    ModelUnavailable,
    SandboxError,
)
from tools.errors import ToolUnavailable

SHARED = None
REQUEST = httpx.Request("GET", "http://judge")


@pytest.mark.parametrize(
    ("error", "first", "later"),
    [
        (ModelUnavailable("the server is away"), "unavailable", "unavailable"),
        (ConnectionResetError("cut"), "unavailable", "unavailable"),
        (TimeoutError(), "unavailable", "unavailable"),
        (httpx.ConnectError("refused"), "unavailable", "unavailable"),
        (httpx.HTTPStatusError("", request=REQUEST, response=httpx.Response(503)), "unavailable", "unavailable"),
        (httpx.HTTPStatusError("", request=REQUEST, response=httpx.Response(404)), "defect", "defect"),
        (ToolUnavailable("the search is down"), "unavailable", "unavailable"),
        (SystemExit("bad option"), "defect", "defect"),
        (ModelRejected("wrong key"), SHARED, "model"),
        (ContextLengthExceeded("too long"), "model", "model"),
        (ModelError("no answer"), "model", "model"),
        (ConfigError("no such tool"), SHARED, "config"),
        (DataError("no such file"), SHARED, "data"),
        (SandboxError("no isolation"), SHARED, SHARED),
        (OSError(errno.ENOSPC, "No space left on device"), SHARED, "defect"),
        (ZeroDivisionError("division by zero"), "defect", "defect"),
    ],
)
def test_what_is_recorded_and_what_ends_all_runs(error: BaseException, first: str | None, later: str | None) -> None:
    for any_success, kind in ((False, first), (True, later)):
        failure = classify(error, any_success=any_success)
        assert (failure and failure["kind"]) == kind
        assert failure is None or failure["message"]


def test_a_message_is_kept_to_a_thousand_characters() -> None:
    failure = classify(ValueError("x" * 5000), any_success=True)
    assert failure is not None
    assert len(failure["message"]) == 1000


def test_a_message_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdef")
    failure = classify(RuntimeError("http://me:pass@host refused sk-0123456789abcdef"), any_success=True)
    assert failure is not None
    assert failure["message"] == "RuntimeError: http://host refused [key]"


def test_an_outage_is_found_wherever_the_call_was_made() -> None:
    down = {"kind": "unavailable", "message": "no route"}
    call = {"tool": "search", "error": down}
    turn = {"plan": {"tool_name": "search"}, "error": None, "calls": [{**call, "error": None}]}
    for state in (
        {"early_calls": [call]},
        {"memory": [{**turn, "error": down}]},
        {"memory": [{**turn, "calls": [call]}]},
    ):
        failure = unavailable_tool(state)
        assert failure is not None
        assert "search" in failure["message"]
    assert unavailable_tool({"memory": [turn], "early_calls": []}) is None
