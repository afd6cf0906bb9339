"""A Hub that is away is told in one sentence, at once, by everything that would ask it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from evals.benchmarks.loading import load_tasks
from graph.errors import DataError
from graph.models.hub_access import hub_options, unreachable_hint, why_unreachable

CLOSED = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_HUB_ETAG_TIMEOUT", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_an_answer_of_any_kind_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        assert why_unreachable() == ""
        assert hub_options("some/model") == {}
        assert unreachable_hint("some/model") == ""
        server.shutdown()


def test_silence_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, silent: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", silent)
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.2")
    assert why_unreachable() == "no answer within 0.2 s"


def test_the_words_of_the_network_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", CLOSED)
    assert "refused" in why_unreachable()
    assert hub_options("some/model") == {"local_files_only": True}
    assert f"The Hub at {CLOSED} cannot be reached" in unreachable_hint("some/model")


def test_a_folder_is_no_matter_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("HF_ENDPOINT", CLOSED)
    assert hub_options(str(tmp_path)) == {}
    assert unreachable_hint(str(tmp_path)) == ""


def test_nobody_is_asked_when_the_user_forbids_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert why_unreachable() == "HF_HUB_OFFLINE is set"


def test_a_benchmark_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("HF_ENDPOINT", CLOSED)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=f"the Hub at {CLOSED} cannot be reached: .*refused") as raised:
        load_tasks("gameof24")
    assert "--data" in str(raised.value)
