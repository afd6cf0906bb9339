"""The real `langgraph dev` server, driven as Studio drives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from evals.speed.fake_server import FakeModelServer
from tests.graph.conftest import plan_text, script

sdk = pytest.importorskip("langgraph_sdk")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeModelServer]:
    """The model that the operator chose."""
    with FakeModelServer(script(), 0.0) as model:
        yield model


@pytest.fixture(scope="module")
def address(server: FakeModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dev server on a free port, configured by its environment, stopped by its process group."""
    pytest.importorskip("langgraph_api")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("dev") / "log.txt"
    command = [
        str(Path(sys.executable).with_name("langgraph")),
        "dev",
        "--port",
        str(port),
        "--no-browser",
        "--no-reload",
    ]
    environment = {key: value for key, value in os.environ.items() if "API_KEY" not in key}
    environment |= {"AGENTFLOW_MODEL": server.spec, "AGENTFLOW_TOOLS": "tests.graph.conftest:double_tool"}
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{url}/ok", timeout=2).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.3)
            assert process.poll() is None, log.read_text()[-3000:]
        else:
            pytest.fail(f"the dev server did not come up:\n{log.read_text()[-3000:]}")
        yield url
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)
    assert "BlockingError" not in log.read_text()


async def test_a_run_is_streamed(address: str) -> None:
    client = sdk.get_client(url=address)
    thread = await client.threads.create()
    nodes: list[str] = []
    tokens = ""
    async for part in client.runs.stream(
        thread["thread_id"],
        "agentflow",
        input={"messages": [{"role": "user", "content": "What is 2 x 21?"}]},
        context={"tools": ["double"]},
        stream_mode=["updates", "messages-tuple"],
    ):
        if part.event == "updates":
            nodes += part.data
        elif part.event == "messages":
            tokens += str(part.data[0]["content"])
        assert part.event != "error", part.data
    assert [node for node in nodes if node in ("planner", "executor", "verifier", "generator")] == [
        "planner", "executor", "verifier", "generator",
    ]  # fmt: skip
    assert plan_text("double") in tokens
    state = await client.threads.get_state(thread["thread_id"])
    assert state["values"]["answer"] == "42"
    assert state["values"]["messages"][-1]["content"] == "42"


async def test_a_run_is_interrupted_and_resumed(address: str, server: FakeModelServer) -> None:
    before = len(server.asked("executor"))
    client = sdk.get_client(url=address)
    thread = (await client.threads.create())["thread_id"]
    settings = {"ask_before": ["double"]}
    await client.runs.wait(thread, "agentflow", input={"question": "What is 2 x 21?"}, context=settings)
    state = await client.threads.get_state(thread)
    assert state["next"] == ["executor"]
    assert state["tasks"][0]["interrupts"][0]["value"]["calls"] == [{"number": 21}]
    result = await client.runs.wait(thread, "agentflow", command={"resume": "not that"})
    assert result["memory"][0]["calls"][0]["error"]["message"] == "a human refused the call: not that"
    await client.runs.wait(thread, "agentflow", command={"resume": True})
    state = await client.threads.get_state(thread)
    assert state["values"]["answer"] == "42"
    assert len(server.asked("executor")) == before + 2


async def test_a_thread_is_a_chat(address: str) -> None:
    client = sdk.get_client(url=address)
    thread = (await client.threads.create())["thread_id"]
    for question in ("first?", "second?"):
        message = {"role": "user", "content": question}
        state = await client.runs.wait(thread, "agentflow", input={"messages": [message]})
        assert (state["question"], len(state["memory"])) == (question, 1)
    assert len(state["messages"]) == 4


async def test_schemas_describe_what_can_be_set(address: str) -> None:
    client = sdk.get_client(url=address)
    [assistant] = await client.assistants.search(graph_id="agentflow")
    schemas = await client.assistants.get_schemas(assistant["assistant_id"])
    assert set(schemas["input_schema"]["properties"]) == {"question", "messages", "analysis"}
    assert schemas["input_schema"]["properties"]["question"]["description"] == "The question to answer."
    settings = schemas["context_schema"]["properties"]
    assert {"model", "planner", "tools", "max_turns", "verify"} <= set(settings)
    undescribed = [name for name, setting in settings.items() if not setting.get("description")]
    assert undescribed == []
    assert settings["max_turns"]["default"] == 10
    undescribed = [
        name for name, value in schemas["state_schema"]["properties"].items() if not value.get("description")
    ]
    assert undescribed == [], "what is passed on within a run is seen by nobody"


@pytest.mark.parametrize(
    "settings",
    [
        {"max_turns": 0},
        {"tools": ["subprocess:getoutput"]},
        {"model": "m@http://evil.example/v1"},
        {"corpus": "/etc"},
    ],
)
async def test_settings_that_are_wrong_or_reach_the_operator_are_refused(
    address: str, settings: dict[str, Any]
) -> None:
    client = sdk.get_client(url=address)
    thread = (await client.threads.create())["thread_id"]
    with pytest.raises(Exception, match=f"`{next(iter(settings))}`"):
        await client.runs.wait(thread, "agentflow", input={"question": "q"}, context=settings, raise_error=True)
