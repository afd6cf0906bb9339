"""A server that speaks as much of the Hub's protocol as listing and downloading the files of a data set takes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest


@contextmanager
def hub_stand_in(
    files: Mapping[tuple[str, str], bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """Serves files by data set and path, and makes the Hub's client ask here; yields the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked.append(self.path)
            path = unquote(self.path.split("?")[0])
            if path.startswith("/api/"):
                repo = path.removeprefix("/api/datasets/").partition("/tree/")[0]
                listed = [
                    {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                    for (of, name), data in files.items()
                    if of == repo
                ]
                self._answer(json.dumps(listed).encode() if listed else None, "RepoNotFound")
                return
            repo, _, rest = path.removeprefix("/datasets/").partition("/resolve/")
            self._answer(files.get((repo, rest.partition("/")[2])), "EntryNotFound")

        def _answer(self, data: bytes | None, code: str) -> None:
            body = data or b""
            self.send_response(404 if data is None else 200)
            if data is None:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", "c" * 40)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    yield asked
    server.shutdown()
    server.server_close()
