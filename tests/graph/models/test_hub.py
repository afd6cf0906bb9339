"""Models of the Hub by name, from a local stand-in that lists, serves, gates and breaks off."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from graph.errors import ConfigError, DataError, ModelUnavailable
from graph.models.__main__ import main
from graph.models.embedded_files import model_file, model_path_or_name
from graph.models.hub import HubModel

REPO = "ann/Tiny-GGUF"
FILES = {
    name: random.Random(name).randbytes(200_000)
    for name in ("tiny-q8_0.gguf", "tiny-Q4_K_M.gguf", "mmproj-tiny-Q4_K_M.gguf", "big/big-F16-00001-of-00002.gguf",
                 "big/big-F16-00002-of-00002.gguf", "README.md")
}  # fmt: skip


class Hub:
    """Serves FILES of REPO; `token` gates it, `cut` ends the next download after so many bytes, `listing` is sent in
    place of the list of files."""

    def __init__(self) -> None:
        self.token, self.cut = "", 0
        self.listing: bytes | None = None
        self.asked: list[str] = []
        self.files = dict(FILES)
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                hub.asked.append(path)
                if hub.token and self.headers.get("authorization") != f"Bearer {hub.token}":
                    self.send_error(401)
                elif path == f"/api/models/{REPO}/tree/main":
                    self.answer(hub.listing or json.dumps([hub.entry(name) for name in hub.files]).encode())
                elif (name := path.removeprefix(f"/{REPO}/resolve/main/")) in hub.files:
                    start = int((self.headers.get("range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
                    self.answer(hub.files[name][start:], 206 if start else 200)
                else:
                    self.send_error(404)

            def answer(self, body: bytes, status: int = 200) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                cut, hub.cut = (hub.cut, 0) if "/resolve/" in self.path else (0, hub.cut)
                self.wfile.write(body[:cut] if cut else body)

            def log_message(self, *args: Any) -> None:
                """Keep the test's output clean."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def entry(self, name: str) -> dict[str, Any]:
        """A line of the list of files; small text files are not in LFS."""
        content = self.files[name]
        lfs = {"lfs": {"oid": hashlib.sha256(FILES[name]).hexdigest(), "size": len(content)}}
        return {"type": "file", "path": name, "size": len(content), "oid": "0" * 40} | (
            lfs if name.endswith(".gguf") else {}
        )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    served = Hub()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{served.http.server_address[1]}")
    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path / "cache"))
    for name in ("AGENTFLOW_MODEL_FILE", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield served
    served.http.shutdown()
    served.http.server_close()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (REPO, "tiny-Q4_K_M.gguf"),
        (f"{REPO}:q8_0", "tiny-q8_0.gguf"),
        (f"{REPO}:Q8_0", "tiny-q8_0.gguf"),
        (f"{REPO}/tiny-q8_0.gguf", "tiny-q8_0.gguf"),
        (f"{REPO}:F16", "big/big-F16-00001-of-00002.gguf"),
    ],
)
def test_a_name_picks_a_file_which_is_fetched_once(hub: Hub, name: str, file: str) -> None:
    path = model_file(model_path_or_name(name))
    assert path.read_bytes() == FILES[file]
    parts = [part for part in FILES if part.startswith("big/")] if name.endswith("F16") else [file]
    assert [path.parents[len(Path(file).parts) - 1].joinpath(part).is_file() for part in parts] == [True] * len(parts)
    asked = len(hub.asked)
    hub.http.server_close()
    assert model_file(name) == path
    assert len(hub.asked) == asked


def test_a_cut_download_goes_on_and_wrong_bytes_are_refused(hub: Hub) -> None:
    hub.cut = 50_000
    assert model_file(REPO).read_bytes() == FILES["tiny-Q4_K_M.gguf"]
    hub.files["tiny-q8_0.gguf"] = bytes(200_000)
    with pytest.raises(ModelUnavailable, match="another SHA-256"):
        model_file(f"{REPO}:Q8_0")


def test_a_gated_model_needs_a_token_that_is_never_shown(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_right"
    with pytest.raises(ConfigError, match=r"gated.*licence at .*/ann/Tiny-GGUF; set HF_TOKEN"):
        model_file(REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ConfigError) as refused:
        model_file(REPO)
    assert "hf_wrong" not in str(refused.value)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert model_file(REPO).is_file()


def test_what_is_not_there_is_said_with_what_is(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"has no Q2_K; name one of its files.*tiny-Q4_K_M.gguf \(0.0 GB\)"):
        model_file(f"{REPO}:Q2_K")
    with pytest.raises(ConfigError, match=r"no model ann/nothing; check the name"):
        model_file("ann/nothing")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelUnavailable, match="HF_HUB_OFFLINE"):
        model_file(REPO)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelUnavailable, match="cannot be asked for ann/Tiny-GGUF"):
        model_file(REPO)


def test_a_path_that_exists_is_no_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_path_or_name("ann/tiny") == "ann/tiny"
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "tiny").mkdir()
    assert model_path_or_name("ann/tiny") == str(tmp_path / "ann" / "tiny")
    assert HubModel.parse("ann/tiny.gguf") is None
    assert HubModel.parse("./ann/tiny") is None
    assert HubModel.parse("/ann/tiny") is None


def test_the_cache_is_listed_and_emptied(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "no model" in capsys.readouterr().out
    assert main(["get", "9b"]) == 2
    assert "`embedded:9b` names no model; write `embedded:1.5b`, `embedded:0.5b`" in capsys.readouterr().err
    assert main(["get", f"{REPO}:F16"]) == 0
    assert main(["get", REPO]) == 0
    capsys.readouterr()
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert f"{REPO}/tiny-Q4_K_M.gguf" in listed
    assert f"{REPO}/big/big-F16.gguf" in listed
    assert "2 models" in listed
    assert main(["remove", f"{REPO}/big/big-F16.gguf"]) == 0
    assert main(["remove", "someone/else"]) == 2
    assert "it has: ann/Tiny-GGUF/tiny-Q4_K_M.gguf" in capsys.readouterr().err
    assert main(["remove", REPO]) == 0
    capsys.readouterr()
    assert main([]) == 0
    assert "no model" in capsys.readouterr().out


@pytest.mark.parametrize(
    "listing", [b'{"error": "maintenance"}', b"[1]", b"null", b"<html>busy</html>", b"\xff\xfe\xfa", b"[" * 100_000]
)
def test_an_answer_that_is_no_list_of_files_is_told(hub: Hub, listing: bytes) -> None:
    hub.listing = listing
    with pytest.raises(ModelUnavailable, match=r"its answer is not a list of files.*HF_ENDPOINT"):
        model_file(REPO)


@pytest.mark.parametrize("lfs", [None, 1, {}, {"size": "many", "oid": "0"}, {"size": 1}])
def test_a_file_without_size_and_checksum_is_not_offered(hub: Hub, lfs: object) -> None:
    hub.listing = json.dumps([{"type": "file", "path": "a.gguf", "lfs": lfs}]).encode()
    with pytest.raises(ConfigError, match="holds no GGUF file"):
        model_file(REPO)


@pytest.mark.parametrize(
    "saved", [b'{"error": 1}', b"[1]", b'[{"path": "tiny-Q4_K_M.gguf"}]', b"null", b'"x"', b"\xff"]
)
def test_a_damaged_list_in_the_cache_is_fetched_anew(hub: Hub, saved: bytes) -> None:
    path = model_file(REPO)
    (path.parent / "listing.json").write_bytes(saved)
    assert model_file(REPO) == path
    assert hub.asked.count(f"/api/models/{REPO}/tree/main") == 2


def test_removal_leaves_nothing_of_a_file_whatever_its_name(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "m[1].gguf", b"x")
    hub.files["m[1].gguf"] = b"x"
    path = model_file(f"{REPO}/m[1].gguf")
    assert main(["remove", f"{REPO}/m[1].gguf"]) == 0
    assert [left.name for left in path.parent.iterdir()] == ["listing.json"]


@pytest.mark.parametrize("name", ["m\0", "x" * 300, "x" * 255, "f/" * 3000])
def test_a_name_that_no_file_can_have_is_told(hub: Hub, name: str) -> None:
    hub.listing = json.dumps([{**hub.entry("tiny-Q4_K_M.gguf"), "path": f"{name}-Q4_K_M.gguf"}]).encode()
    with pytest.raises(DataError, match="whose name no file here can have"):
        model_file(REPO)


@pytest.mark.parametrize("name", ["m\0", "x" * 300])
def test_a_saved_name_that_no_file_can_have_is_asked_for_anew(hub: Hub, name: str) -> None:
    saved = model_file(REPO).with_name("listing.json")
    saved.write_text(json.dumps([{"path": f"{name}-Q4_K_M.gguf", "size": 1, "sha256": "0"}]))
    assert model_file(REPO).name == "tiny-Q4_K_M.gguf"


@pytest.mark.parametrize("name", [f"ann/{'x' * 300}", f"./{'x' * 300}.gguf", "./m\0.gguf"])
def test_a_long_or_broken_name_of_a_model_is_told(hub: Hub, name: str) -> None:
    with pytest.raises(ConfigError):
        model_file(model_path_or_name(name))
