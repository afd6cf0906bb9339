"""The `python` tool: what it answers, how it fails, and that it never answers unprotected."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest
from langchain_core.tools import BaseTool, ToolException

from tools.card import card_of, time_limit_of
from tools.python import make_python_tool, strip_fence
from tools.sandbox import Limits, Sandbox, SandboxUnavailable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux namespaces")


@pytest.fixture(scope="module")
def python() -> BaseTool:
    return make_python_tool(sandbox=Sandbox(Limits(seconds=5.0, memory_mb=512, output_kb=8)))


def test_it_presents_itself(python: BaseTool) -> None:
    assert python.name == "python"
    assert list(python.args) == ["code"]
    assert card_of(python).examples
    assert time_limit_of(python) > 5.0


def test_the_examples_of_its_card_are_right(python: BaseTool) -> None:
    card = card_of(python)
    answers = [python.invoke({"code": example.input}) for example in (*card.examples, *card.programs)]
    assert answers[:4] == ["Sunday", "1333.0", "5", "38"]
    assert answers[4:] == ["((2 * 9) - 5)", "4", "900", "Forth Bridge", "Saturday", "no", "2400"]


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("print(6 * 7)", "42"),
        ("6 * 7", "42"),
        ("print('half:')\n1 / 2", "half:\n0.5"),
        ("```python\nprint(1 + 0)\n```", "1"),
        ("from sympy import Rational; Rational(1, 3) + 1", "4/3"),
    ],
)
async def test_it_answers_with_output_and_value(python: BaseTool, code: str, answer: str) -> None:
    assert python.invoke({"code": code}) == answer
    assert await python.ainvoke({"code": code}) == answer


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\na\nb\n```", "a\nb"),
        ("\n```py\na\n```\n", "a"),
        ("```\na\n```", "a"),
        ("``` Python3\r\na\n  ```", "a"),
        ("```python\na", "a"),
        ("```python\n```", ""),
        ("a", "a"),
        ("s = '''\n```\n'''", "s = '''\n```\n'''"),
        ("Here:\n```python\na\n```", "Here:\n```python\na\n```"),
    ],
)
def test_only_a_fence_around_everything_is_taken_off(text: str, code: str) -> None:
    assert strip_fence(text) == code


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        (
            "print('a' * 1)\nprint(b)",
            ["in line 2", "NameError: name 'b' is not defined", "print(b)", "before that:\na"],
        ),
        ("if True print(1)", ["in line 1", "SyntaxError", "if True print(1)"]),
        ("import requests", ["in line 1", "ModuleNotFoundError: No module named 'requests'"]),
        ("input('?')", ["EOFError"]),
        ("x = 1 + 1", ["printed nothing", "print the result"]),
        ("import warnings; warnings.warn('careful')", ["printed nothing", "careful"]),
        ("x = bytearray(10**10)", ["more than 512 MB", "line 1"]),
        ("print('x' * 10**5)", ["printed more than 8 KB", "began with:\nxxx"]),
        ("import os; os._exit(3)", ["exit code 3"]),
        ("import os; os.abort()", ["SIGABRT"]),
        ("raise KeyError", ["KeyError"]),
    ],
)
def test_a_failure_says_what_to_mend(python: BaseTool, code: str, parts: list[str]) -> None:
    with pytest.raises(ToolException) as failed:
        python.invoke({"code": code})
    assert not isinstance(failed.value, SandboxUnavailable)
    for part in parts:
        assert part in str(failed.value)
    assert len(str(failed.value)) < 3000


def test_a_time_out_is_told_with_what_was_printed() -> None:
    with pytest.raises(ToolException, match=r"(?s)longer than 0\.5 s.*before that:\nbegun"):
        make_python_tool(time_limit=0.5).invoke({"code": "print('begun')\nwhile True: pass"})


async def test_cancelling_ends_the_code(python: BaseTool) -> None:
    await python.ainvoke({"code": "1 + 0"})
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(python.ainvoke({"code": "while True: pass"}), 0.5)
    assert time.monotonic() - started < 15.0, "its own limit of 20 seconds would end it too"


def test_it_blocks_no_event_loop() -> None:
    """Under `langgraph dev` a blocking call in the loop raises; the same watchdog is used here."""
    blockbuster = pytest.importorskip("blockbuster")

    async def ask() -> str:
        with blockbuster.blockbuster_ctx():
            return str(await make_python_tool().ainvoke({"code": "6 * 7"}))

    assert asyncio.run(ask()) == "42"


async def test_without_a_sandbox_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    python = make_python_tool()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxUnavailable):
        python.invoke({"code": "print(1 + 0)"})
    with pytest.raises(SandboxUnavailable):
        await python.ainvoke({"code": "print(1 + 0)"})


def test_bad_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="seconds"):
        make_python_tool(time_limit=0)


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("print('Paris')", "Paris"),
        ("x = 42  # example value\nx", "42"),
        ("# Example data\nprint([3, 5])", "[3, 5]"),
        ("print(f'{255:b}')", "11111111"),
    ],
)
def test_it_runs_whatever_it_is_given(python: BaseTool, code: str, answer: str) -> None:
    """What programs of small models are held to is declared in `graph.checks`, and can be switched off."""
    assert python.invoke({"code": code}) == answer
