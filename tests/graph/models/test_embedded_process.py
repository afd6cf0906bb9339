"""llama.cpp's process: that it ends with ours, and what is told when it ends alone."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from graph.errors import ConfigError, ModelUnavailable
from graph.models import embedded_process, embedded_server, embedded_worker
from graph.models.embedded import EmbeddedChat
from graph.models.embedded_process import EmbeddedProcess, LoadingFailed
from graph.models.embedded_server import Served, served, stop_servers
from graph.models.server_settings import ServerSettings

SETTINGS = ServerSettings(slots=1, context=2048, threads=1)


@pytest.fixture(autouse=True)
def _stopped_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path / "cache"))
    yield
    stop_servers()


def pid_of(server: Served) -> int:
    return server.process._popen.pid


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_the_event_loop_goes_on_while_a_model_is_loaded(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is stopped for a second amid its start, as by a slow disk."""
    real = EmbeddedProcess.address

    def slow(process: EmbeddedProcess) -> str:
        os.kill(process._popen.pid, signal.SIGSTOP)
        time.sleep(1)
        os.kill(process._popen.pid, signal.SIGCONT)
        return real(process)

    monkeypatch.setattr(EmbeddedProcess, "address", slow)
    loading = asyncio.create_task(EmbeddedChat(model=str(gguf), settings=SETTINGS, max_tokens=2).ainvoke("q"))
    beats = 0
    while not loading.done():
        await asyncio.sleep(0.02)
        beats += 1
    assert beats > 20
    assert (await loading).usage_metadata


async def test_a_server_that_died_while_idle_is_started_anew(gguf: Path) -> None:
    model = EmbeddedChat(model=str(gguf), settings=SETTINGS, temperature=0.0, max_tokens=4)
    first = await model.ainvoke("q")
    server = await served(str(gguf), SETTINGS)
    os.kill(pid_of(server), signal.SIGKILL)
    assert server.process.why_ended(wait=10)
    assert (await model.ainvoke("q")).text == first.text


async def test_that_it_died_amid_a_reply_is_told(gguf: Path) -> None:
    model = EmbeddedChat(model=str(gguf), settings=SETTINGS, max_tokens=2000, max_retries=0)

    async def kill_it_amid_a_reply() -> None:
        async for _ in model.astream("q", ignore_eos=True):
            os.kill(pid_of(await served(str(gguf), SETTINGS)), signal.SIGKILL)

    with pytest.raises(
        ModelUnavailable, match=r"is gone .its process was killed, as systems do that run out of memory"
    ):
        await kill_it_amid_a_reply()
    assert (await model.ainvoke("q", max_tokens=2)).usage_metadata


def test_what_it_wrote_last_is_why_it_ended(gguf: Path) -> None:
    process = EmbeddedProcess(Path(), {"model": {"path": str(gguf)}, "n_ctx": "many"}, [], shows_log=False)
    with pytest.raises(LoadingFailed, match="ended with exit code 1: TypeError"):
        process.address()


async def test_a_model_that_cannot_be_loaded_is_told_in_llama_cpp_s_words(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the extra `embedded` is not installed")
    (tmp_path / "wrong.gguf").write_bytes(b"GGUF" + b"\x00" * 64)
    with pytest.raises(ConfigError) as told:
        await served(str(tmp_path / "wrong.gguf"), SETTINGS)
    assert "exit code" not in str(told.value)


async def test_a_process_whose_first_request_failed_is_ended(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> None:
        raise ModelUnavailable("503")

    monkeypatch.setattr(embedded_server, "post_json", fails)
    with pytest.raises(ConfigError, match="503"):
        await served(str(gguf), SETTINGS)
    assert all(process.why_ended() for process in embedded_process._processes)


async def test_without_a_python_to_start_it_says_so(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(ConfigError, match=r"sys\.executable is ''"):
        await served(str(gguf), SETTINGS)


def test_one_that_reads_no_request_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(request: object) -> str:
        time.sleep(0.3)  # it has ended by then
        return "{}"

    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr(embedded_process, "json", SimpleNamespace(dumps=late))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        process = EmbeddedProcess(Path(), {}, [], shows_log=False)
        assert "exit code 1" in process.why_ended()
        process.end()
        del process
    assert warned == []


@pytest.mark.parametrize("amid_loading", [True, False])
def test_it_ends_when_the_process_that_started_it_is_killed(gguf: Path, amid_loading: bool) -> None:
    script = f"""
import sys, time
from pathlib import Path
from graph.models.embedded_process import EmbeddedProcess
process = EmbeddedProcess(Path(), {{"model": {{"path": {str(gguf)!r}}}}}, [], shows_log=False)
if not {amid_loading}:
    process.address()
print(process._popen.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
    end = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_running(pid)


def test_it_ends_when_nobody_reads_its_address(gguf: Path) -> None:
    """As where its starter was killed while it loaded. Dropping such a server would hang, but not every time."""
    request = {"package": "", "parameters": {"model": {"path": str(gguf)}}, "adapters": []}
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-I", embedded_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.close()
        assert process.wait(30) == 1


def test_it_ends_when_it_is_dropped(gguf: Path) -> None:
    process = EmbeddedProcess(Path(), {"model": {"path": str(gguf)}}, [], shows_log=False)
    pid = process._popen.pid
    assert is_running(pid)
    del process
    assert not is_running(pid)
