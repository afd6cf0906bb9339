"""A tool is somebody's code: what it raises ends its call, what it returns becomes text, Ctrl-C still ends the run."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.types import Command

from graph import Context, build_graph
from graph.errors import ModelUnavailable
from graph.state import ToolCall
from tests.graph.conftest import Serve, calls_text, plan_text

MODES = pytest.mark.parametrize("mode", ["sync", "async"])


def acting(act: Callable[[], Any], **settings: Any) -> list[BaseTool]:
    """A tool that does something, as a plain and as an asynchronous function."""

    def call(x: int) -> Any:
        """Act."""
        return act()

    async def acall(x: int) -> Any:
        return act()

    return [
        StructuredTool.from_function(call, name="act", **settings),
        StructuredTool.from_function(coroutine=acall, name="act", description="Act.", **settings),
    ]


def raising(error: BaseException) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


async def called(serve: Serve, tool: BaseTool, mode: str) -> ToolCall:
    """The tool's call in a real run."""
    server = serve(planner=plan_text("act"), executor=calls_text({"x": 1}))
    graph, context = build_graph(tools=[tool]), Context(model=server.spec, max_turns=1)
    if mode == "sync":
        state = await asyncio.to_thread(graph.invoke, {"question": "q"}, context=context)
    else:
        state = await graph.ainvoke({"question": "q"}, context=context)
    assert state["answer"] == "42"
    call: ToolCall = state["memory"][0]["calls"][0]
    return call


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@MODES
@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TimeoutError("the database is slow"), "TimeoutError: the database is slow"),
        (TimeoutError(), "TimeoutError"),
        (asyncio.CancelledError("no"), "CancelledError: no"),
        (SystemExit(3), "SystemExit: 3"),
        (StopIteration("end"), "StopIteration: end"),
        (GeneratorExit(), "GeneratorExit"),
        (ExceptionGroup("several", [KeyError("first"), ValueError()]), "KeyError: 'first'"),
        (BaseExceptionGroup("several", [SystemExit(1)]), "SystemExit: 1"),
        (Mute(), "Mute: [object of the class Mute, which cannot be shown: RuntimeError]"),
    ],
)
async def test_what_a_tool_raises_ends_its_call(serve: Serve, mode: str, kind: int, error: Any, message: str) -> None:
    call = await called(serve, acting(raising(error))[kind], mode)
    assert call["error"] == {"kind": "tool", "message": message}


async def test_an_error_of_a_tool_is_kept_without_keys(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_API_KEY", "sk-verysecret-0123456789")
    error = OSError("401 for http://me:s3cret@host/v1?api_key=hidden with sk-verysecret-0123456789")
    call = await called(serve, acting(raising(error))[1], "async")
    assert call["error"] == {"kind": "tool", "message": "OSError: 401 for http://host/v1?api_key=[key] with [key]"}


async def test_a_tools_thread_may_raise_what_ctrl_c_raises(serve: Serve) -> None:
    call = await called(serve, acting(raising(KeyboardInterrupt()))[0], "async")
    assert call["error"] == {"kind": "tool", "message": "KeyboardInterrupt"}


@pytest.mark.parametrize(
    ("handling", "message"),
    [(True, "raw"), ("in fixed words", "in fixed words"), (lambda error: f"so: {error}", "so: raw")],
)
async def test_a_tool_may_word_its_errors(serve: Serve, handling: Any, message: str) -> None:
    for tool in acting(raising(ToolException("raw")), handle_tool_error=handling):
        call = await called(serve, tool, "async")
        assert call["result"] == ""
        assert call["error"] == {"kind": "tool", "message": message}


async def test_infrastructure_failures_leave_the_run(serve: Serve) -> None:
    with pytest.raises(ModelUnavailable, match="away"):
        await called(serve, acting(raising(ModelUnavailable("away")))[1], "async")


@dataclasses.dataclass
class Record:
    number: int


def words() -> Iterator[str]:
    yield "a"
    yield "b"


async def late_words() -> AsyncIterator[Any]:
    yield "a"
    await asyncio.sleep(0)
    yield {"day": date(2024, 1, 2)}


async def later() -> Record:
    return Record(3)


def message(text: str, **settings: Any) -> ToolMessage:
    return ToolMessage(text, tool_call_id="1", **settings)


@MODES
@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: Record(1), '{"number": 1}'),
        (lambda: {date(2024, 1, 2): Record(1)}, '{"2024-01-02": {"number": 1}}'),
        (words, '["a", "b"]'),
        (late_words, '["a", {"day": "2024-01-02"}]'),
        (later, '{"number": 3}'),
        (lambda: message("said"), "said"),
        (lambda: Command(update={"messages": [message("done")]}), "done"),
        (lambda: [message("one"), Command(update={"messages": [message("two")]})], "one\ntwo"),
    ],
)
async def test_what_a_tool_returns_is_told(serve: Serve, mode: str, kind: int, act: Any, text: str) -> None:
    call = await called(serve, acting(act)[kind], mode)
    assert (call["result"], call["error"]) == (text, None)


def failing() -> Iterator[int]:
    yield 1
    raise KeyError("lost")


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (failing, "KeyError: 'lost'"),
        (lambda: message("bad", status="error"), "bad"),
        (lambda: Command(goto="planner"), "returned a Command that does more than add a ToolMessage"),
        (lambda: Command(update={"messages": [message("done")], "name": "x"}), "returned a Command"),
    ],
)
async def test_results_that_are_failures(serve: Serve, act: Any, words: str) -> None:
    for tool in acting(act):
        error = (await called(serve, tool, "async"))["error"]
        assert error is not None
        assert error["kind"] == "tool"
        assert words in error["message"]


async def test_of_content_and_artifact_the_content_is_told(serve: Serve) -> None:
    for tool in acting(lambda: (Record(1), "artifact"), response_format="content_and_artifact"):
        assert (await called(serve, tool, "async"))["result"] == '{"number": 1}'


async def test_nothing_returned_is_told_apart_from_a_failure(serve: Serve) -> None:
    server = serve(planner=plan_text("act"), executor=calls_text({"x": 1}))
    graph = build_graph(tools=[acting(lambda: None)[0]])
    state = await graph.ainvoke({"question": "q"}, context=Context(model=server.spec, max_turns=1))
    assert state["memory"][0]["calls"][0]["error"] is None
    assert "act ended without an error and returned nothing" in state["memory"][0]["observation"]


class Counting(BaseTool):
    name: str = "act"
    description: str = "Counts."
    count: int = 0

    def _run(self, x: int) -> dict[str, int]:
        self.count += x
        return {"count": self.count}


async def test_a_tool_keeps_what_it_notes_about_itself(serve: Serve) -> None:
    tool = Counting()
    assert (await called(serve, tool, "async"))["result"] == '{"count": 1}'
    assert (await called(serve, tool, "sync"))["result"] == '{"count": 2}'
    assert tool.count == 2


async def test_a_cancelled_run_is_cancelled(serve: Serve) -> None:
    started, ended = asyncio.Event(), threading.Event()

    async def act(x: int) -> str:
        """Act."""
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return ""

    server = serve(planner=plan_text("act"), executor=calls_text({"x": 1}))
    graph = build_graph(tools=[StructuredTool.from_function(coroutine=act, name="act")])
    run = asyncio.ensure_future(graph.ainvoke({"question": "q"}, context=Context(model=server.spec, max_turns=1)))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert ended.is_set()


PROGRAM = textwrap.dedent(
    """
    import asyncio, sys, time
    from langchain_core.tools import StructuredTool
    from graph import Context, build_graph

    def act(x: int) -> str:
        "Act."
        print("acting", flush=True)
        time.sleep(3)
        return "done"

    async def aact(x: int) -> str:
        print("acting", flush=True)
        await asyncio.sleep(60)
        return "done"

    spec, mode = sys.argv[1:]
    tool = StructuredTool.from_function(act, coroutine=aact if mode == "async" else None, name="act")
    graph, context = build_graph(tools=[tool]), Context(model=spec, max_turns=1)
    if mode == "async":
        asyncio.run(graph.ainvoke({"question": "q"}, context=context))
    else:
        graph.invoke({"question": "q"}, context=context)
    print("went on", flush=True)
    """
)


@MODES
def test_ctrl_c_stops_a_run_inside_a_tool(serve: Serve, mode: str) -> None:
    server = serve(planner=plan_text("act"), executor=calls_text({"x": 1}))
    command = [sys.executable, "-c", PROGRAM, server.spec, mode]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "acting\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert out == ""
    assert "KeyboardInterrupt" in err


async def test_functions_that_never_return_hold_up_no_run(serve: Serve) -> None:
    release = threading.Event()
    pool = [asyncio.get_running_loop().run_in_executor(None, release.wait, 60) for _ in range(40)]  # somebody else's
    try:
        async with asyncio.timeout(30):
            for tool in acting(lambda: 5)[0], acting(lambda: {"a": 5})[0]:
                assert (await called(serve, tool, "async"))["error"] is None
    finally:
        release.set()
        await asyncio.gather(*pool)


def test_an_event_loop_closes_while_a_tool_hangs(serve: Serve) -> None:
    release = threading.Event()
    tool = acting(lambda: release.wait(60), metadata={"time_limit": 0.1})[0]
    began = time.perf_counter()
    try:
        call = asyncio.run(called(serve, tool, "async"))
        assert time.perf_counter() - began < 30
    finally:
        release.set()
    assert call["error"] == {"kind": "timeout", "message": "act did not finish within 0.1 seconds"}
