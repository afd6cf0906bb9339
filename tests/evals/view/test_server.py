"""The server answers GET, to this machine, under its own name, from its own files; and the command around it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from evals.__main__ import main
from evals.view.page import SCRIPTS, STYLES
from evals.view.server import Server

from .samples import evaluation, hostile, saved_run

Serve = Callable[..., Server]

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def server(serve: Serve, tmp_path: Path) -> Server:
    (tmp_path / "secret.txt").write_text("top secret")
    return serve(evaluation(tmp_path / "eval", 3))


def test_the_page_and_its_data_are_served(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        page = client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert all(name in page.text for name in (*STYLES, *SCRIPTS))
        assert all(client.get(f"/static/{name}").status_code == 200 for name in (*STYLES, *SCRIPTS))
        assert client.get("/api/overview").json()["sources"][0]["runs"] == 3
        assert len(client.get("/api/rows", params={"source": 0, "start": 1}).json()["rows"]) == 2
        run = client.get("/api/run", params={"source": 0, "run": 1, "generation": 1})
        assert run.json()["task"] == "t1"
        assert client.get("/api/search", params={"source": 0, "query": "traveller 2"}).json()["found"] == [2]


def test_every_answer_forbids_foreign_scripts_and_guesses(server: Server) -> None:
    for path in ("", "static/app.js", "api/overview", "nothing", "api/run?run=99"):
        headers = httpx.get(server.url + path).headers
        assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["", "api/overview", "static/app.js", "nothing"])
def test_only_get_is_answered(server: Server, method: str, path: str) -> None:
    assert httpx.request(method, server.url + path).status_code == 405


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil:{port}"]
)
def test_another_name_is_refused(server: Server, host: str) -> None:
    for path in ("", "api/overview"):
        answer = httpx.get(server.url + path, headers={"Host": host.format(port=server.port)})
        assert answer.status_code == 403
        assert "traveller" not in answer.text


def test_it_answers_as_localhost_too(server: Server) -> None:
    assert httpx.get(server.url, headers={"Host": f"localhost:{server.port}"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py", "/static/..%2f..%2fserver.py", "/static/%2e%2e/server.py", "/static//etc/passwd",
        "/static/page.html", "/static/uPlot.LICENSE.txt", "/../../secret.txt", "/secret.txt", "//etc/passwd",
        "/api/run?source=../../secret.txt", "/api/run?source=-1", "/api/run?source=7", "/api/run?run=99&generation=1",
        "/api/run?run=0&generation=9", "/api/rows?source=1e9", "/api/rows?start=%00", "/api/search?source=99&query=x",
        "/api/run?source=99999999999999999999", "/api/facts?source=٣",
    ],
)  # fmt: skip
def test_no_path_leads_anywhere_else(server: Server, path: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:  # httpx would tidy the path
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode("utf-8"))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.split(b" ")[1] in (b"400", b"404")
    assert b"top secret" not in answer
    assert b"root:" not in answer


def test_it_listens_on_the_loopback_only(server: Server) -> None:
    assert server._runner.addresses == [("127.0.0.1", server.port)]


def test_broken_unicode_arrives_as_valid_json(serve: Serve, tmp_path: Path) -> None:
    server = serve(hostile(tmp_path / "hostile", giant=1000))
    for number in range(3):
        for path in (f"rows?source={number}", f"run?source={number}&run=0&generation=1", f"facts?source={number}"):
            json.loads(httpx.get(f"{server.url}api/{path}").content.decode("utf-8"))


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evals", "view", str(saved_run(tmp_path / "run.json")), "--no-browser"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert httpx.get(address + "api/overview").json()["sources"][0]["kind"] == "run"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no/such/folder"], "nothing at"),
        (["{run}", "--port", "70000"], "--port is 70000"),
        (["{run}", "--export", "{tmp}/no/such/folder/x.html"], "choose another file for --export"),
        (["{tmp}"], "contains no run"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    run = saved_run(tmp_path / "run.json")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["view", *(word.format(run=run, tmp=empty) for word in words)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_port_that_is_taken_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["view", str(saved_run(tmp_path / "run.json")), "--no-browser", "--port", str(port)]) == 2
    assert f"The port {port} cannot be had" in capsys.readouterr().err


def test_the_command_writes_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.html"
    assert main(["view", str(evaluation(tmp_path / "eval", 4)), "--export", str(file)]) == 0
    page = file.read_text(encoding="utf-8")
    assert "4 runs" in capsys.readouterr().err
    assert "<script src" not in page
    assert 'http-equiv="Content-Security-Policy"' in page
    assert "default-src 'none'" in page
    assert list(tmp_path.glob("*.tmp")) == []


def test_neither_training_nor_torch_is_imported(tmp_path: Path) -> None:
    from .samples import training

    folder = training(tmp_path / "run", 1, 1, 2)
    code = (
        "import sys; from evals.__main__ import main; "
        f"assert main(['view', {str(folder)!r}, '--export', {str(tmp_path / 'x.html')!r}]) == 0; "
        "bad = {m.split('.')[0] for m in sys.modules} & {'training', 'torch', 'transformers', 'selenium'}; "
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=ENVIRONMENT)
