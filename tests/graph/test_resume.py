"""A killed process loses nothing that was finished: runs go on from a SQLite checkpoint."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from evals.speed.fake_server import ChatReply, FakeModelServer
from tests.graph.conftest import calls_text, plan_text, verdict_text

pytest.importorskip("langgraph.checkpoint.sqlite")
ROOT = Path(__file__).parents[2]

PROGRAM = textwrap.dedent(
    """
    import asyncio, sys, time
    from pathlib import Path
    from langchain_core.tools import StructuredTool
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    from graph import Context, build_graph

    spec, folder, slow, mode, start = sys.argv[1:]
    folder = Path(folder)

    def fetch(name: str) -> str:
        "Fetch a thing."
        with (folder / "calls").open("a") as file:
            file.write(name + "\\n")
        if name == slow:
            (folder / "slow").touch()
            time.sleep(60)
        return f"the {name}"

    async def afetch(name: str) -> str:
        return await asyncio.to_thread(fetch, name)

    tool = StructuredTool.from_function(fetch, coroutine=afetch, name="fetch")
    question = {"question": "q"} if start == "start" else None
    config = {"configurable": {"thread_id": "t"}}
    context = Context(model=spec)

    async def asynchronous():
        async with AsyncSqliteSaver.from_conn_string(str(folder / "db")) as saver:
            return await build_graph(tools=[tool], checkpointer=saver).ainvoke(question, config, context=context)

    def synchronous():
        with SqliteSaver.from_conn_string(str(folder / "db")) as saver:
            return build_graph(tools=[tool], checkpointer=saver).invoke(question, config, context=context)

    state = asyncio.run(asynchronous()) if mode == "async" else synchronous()
    print(state["answer"], len(state["memory"]), [call["result"] for call in state["memory"][0]["calls"]])
    """
)


def start(server: FakeModelServer, folder: Path, slow: str, mode: str, begin: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, server.spec, str(folder), slow, mode, begin]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


STATE = "SELECT count(*) FROM checkpoints WHERE instr(checkpoint, CAST(? AS BLOB)) > 0"
TASK = """SELECT count(*) FROM writes JOIN checkpoints USING (thread_id, checkpoint_ns, checkpoint_id)
          WHERE instr(value, CAST(? AS BLOB)) > 0"""


def is_saved(folder: Path, text: str, where: str) -> bool:
    """Whether the checkpointer, which writes in the background and in any order, has put this text on disk.

    Args:
        folder: Where its database is.
        text: Part of the result of a call.
        where: `STATE`: the step of the call has ended, and the state after it is saved. `TASK`: the call's own result
            is, and the step that it belongs to has a checkpoint.
    """
    try:
        with closing(sqlite3.connect(folder / "db", timeout=5)) as database:
            found = database.execute(where, (text,)).fetchone()[0]
    except sqlite3.OperationalError:
        return False  # not there yet, or being made
    return bool(found)


def resumed(server: FakeModelServer, folder: Path, mode: str) -> str:
    out, err = start(server, folder, "", mode, "resume").communicate(timeout=60)
    assert out, err[-3000:]
    return out.strip()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_killed_between_executor_and_verifier(serve: Callable[..., FakeModelServer], tmp_path: Path, mode: str) -> None:
    server = serve(planner=plan_text("fetch"), executor=calls_text({"name": "book"}))
    stuck = ChatReply(verdict_text(), delay=30)
    slow = serve(planner=plan_text("fetch"), executor=calls_text({"name": "book"}), verifier=stuck)
    process = start(slow, tmp_path, "", mode, "start")
    kill_when(process, lambda: bool(slow.asked("verifier")) and is_saved(tmp_path, "the book", STATE))
    assert (tmp_path / "calls").read_text() == "book\n"
    assert resumed(server, tmp_path, mode) == "42 1 ['the book']"
    assert (tmp_path / "calls").read_text() == "book\n", "the finished call was made again"
    assert not server.asked("planner")
    assert not server.asked("executor")


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_killed_between_the_two_calls_of_a_turn(
    serve: Callable[..., FakeModelServer], tmp_path: Path, mode: str
) -> None:
    server = serve(planner=plan_text("fetch"), executor=calls_text({"name": "book"}, {"name": "lamp"}))
    process = start(server, tmp_path, "lamp", mode, "start")
    kill_when(process, lambda: (tmp_path / "slow").exists() and is_saved(tmp_path, "the book", TASK))
    assert sorted((tmp_path / "calls").read_text().split()) == ["book", "lamp"]
    assert resumed(server, tmp_path, mode) == "42 1 ['the book', 'the lamp']"
    assert sorted((tmp_path / "calls").read_text().split()) == ["book", "lamp", "lamp"]
    assert len(server.asked("planner")) == len(server.asked("executor")) == 1, "nothing finished is asked again"
