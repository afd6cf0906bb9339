"""GGUF models of the Hugging Face Hub by name: `OWNER/REPO`, `OWNER/REPO:QUANT` or `OWNER/REPO/FILE.gguf`.

The names are those of `llama-server -hf` and Ollama. Sizes and SHA-256 come from the Hub's list of the repository's
files. The list is saved beside the files, so that a cached model needs no network.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from graph.errors import ConfigError, DataError, ModelUnavailable
from graph.models.download import cache_directory, fetch
from graph.models.hub_access import hub_address, hub_headers, is_offline, why_unreachable
from graph.models.sources import HUB_CONNECT_TIMEOUT, ModelFile, write_whole

QUANTS: Final = ("Q4_K_M", "Q4_0", "Q8_0")
"""Quantisations in order of preference, if none is specified."""

_NAME = re.compile(r"(?P<repo>[\w][\w.-]*/[\w][\w.-]*?)(?::(?P<quant>[\w.-]+)|/(?P<file>\S+\.gguf))?", re.ASCII)
_SHARD = re.compile(r"-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
_LISTING: Final = "listing.json"
_LONGEST_NAME: Final = 220
_LONGEST_PATH: Final = 1000
"""Bytes. File systems take names of 255."""


class Listed(TypedDict):
    """One GGUF file of a repository."""

    path: str
    size: int
    """Bytes."""
    sha256: str


_SAVED: Final = TypeAdapter(list[Listed])
_TREE: Final = TypeAdapter(list[dict[str, Any]])
"""The forms of the saved list and of the Hub's."""


@dataclass(frozen=True)
class HubModel:
    """A model on the Hub, as in a spec."""

    repo: str
    quant: str = ""
    """Quantisation, such as `Q4_K_M`; default: the first of `QUANTS` in the repository."""
    file: str = ""
    """Path of a file in the repository; takes precedence over `quant`."""

    @classmethod
    def parse(cls, name: str) -> HubModel | None:
        """Parse a name; None if it has another form."""
        match = _NAME.fullmatch(name)
        if match is None or match["repo"].lower().endswith(".gguf"):
            return None
        return cls(match["repo"], match["quant"] or "", match["file"] or "")

    def get(self) -> Path:
        """The model's file in the cache, downloaded if necessary; the first file of a split model.

        Raises:
            ConfigError: the repository does not exist, is gated, or has no such file.
            ModelUnavailable: the Hub cannot be reached.
            DataError: a file in the cache has the wrong checksum.
        """
        folder = cache_directory() / "hub" / self.repo
        listing = _read(folder / _LISTING)
        chosen = self._choose(listing) if listing else []
        if not chosen or not all(os.path.isfile(folder / item["path"]) for item in chosen):
            listing = _ask(self.repo)
            chosen = self._choose(listing)
            if not chosen:
                raise ConfigError(self._offer(listing))
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / _LISTING, json.dumps(listing, indent=1))
        first, *_ = [fetch(self._model_file(item)) for item in chosen]
        return first

    def _model_file(self, item: Listed) -> ModelFile:
        return ModelFile(
            name=f"{self.repo}/{item['path']}",
            repo=self.repo,
            filename=item["path"],
            size=item["size"],
            sha256=item["sha256"],
            folder=f"hub/{self.repo}",
        )

    def _choose(self, listing: list[Listed]) -> list[Listed]:
        """The files of the model in order; empty if none matches."""
        models = [item for item in listing if not Path(item["path"]).name.lower().startswith("mmproj")]
        if self.file:
            return _with_shards([item for item in models if item["path"] == self.file], models)
        for quant in (self.quant,) if self.quant else QUANTS:
            fitting = [item for item in models if _is_quantised(item["path"], quant)]
            if fitting:
                return _with_shards(fitting, models)
        return [] if self.quant else _with_shards(models, models)

    def _offer(self, listing: list[Listed]) -> str:
        if not listing:
            return f"The repository {self.repo} holds no GGUF file; look for one whose name ends in -GGUF."
        offered = ", ".join(f"{item['path']} ({item['size'] / 1e9:.1f} GB)" for item in listing[:12])
        missing = self.file or self.quant
        return f"The repository {self.repo} has no {missing}; name one of its files as {self.repo}/FILE: {offered}."


def _is_quantised(path: str, quant: str) -> bool:
    name = _SHARD.sub(".gguf", Path(path).name)
    return re.search(rf"(?:^|[-._]){re.escape(quant)}\.gguf$", name, re.IGNORECASE) is not None


def _with_shards(fitting: list[Listed], models: list[Listed]) -> list[Listed]:
    """The first matching file, with the other parts of the model if it is split."""
    if not fitting:
        return []
    first = min(fitting, key=lambda item: item["path"])
    shard = _SHARD.search(first["path"])
    if shard is None:
        return [first]
    stem = first["path"][: shard.start()]
    parts = sorted((item for item in models if _shard_of(item["path"], stem)), key=lambda item: item["path"])
    return parts if len(parts) == int(shard["count"]) else []


def _shard_of(path: str, stem: str) -> bool:
    return path.startswith(stem) and _SHARD.fullmatch(path[len(stem) :]) is not None


def _read(path: Path) -> list[Listed]:
    """The saved list; empty if there is none, or it has another form."""
    try:
        return _SAVED.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return []


def _ask(repo: str) -> list[Listed]:
    """The GGUF files of a repository, as listed by the Hub."""
    if is_offline():
        raise ModelUnavailable(f"{repo} is not in the cache; unset HF_HUB_OFFLINE once to fetch it.")
    if reason := why_unreachable():
        raise _out_of_reach(repo, reason)
    import httpx

    url: str | None = f"{hub_address()}/api/models/{repo}/tree/main?recursive=true"
    files: list[Listed] = []
    try:
        with httpx.Client(timeout=httpx.Timeout(30.0, connect=HUB_CONNECT_TIMEOUT), follow_redirects=True) as client:
            while url:
                response = client.get(url, headers=hub_headers())
                if response.status_code != 200:
                    raise _refused(repo, response.status_code)
                files += filter(None, map(_listed, _TREE.validate_json(response.content)))
                url = response.links.get("next", {}).get("url")
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise _out_of_reach(repo, str(error)) from error
    except ValidationError as error:
        raise _out_of_reach(repo, "its answer is not a list of files") from error
    return sorted(files, key=lambda item: item["path"])


def _out_of_reach(repo: str, reason: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"The Hugging Face Hub at {hub_address()} cannot be asked for {repo} ({reason}); check the network or "
        "HF_ENDPOINT, or name a file on this machine as embedded:./FILE.gguf."
    )


def _listed(entry: dict[str, Any]) -> Listed | None:
    """A file of the Hub's list; None if it is no GGUF file, or its size and SHA-256 are not told."""
    match entry:
        case {"type": "file", "path": str(path), "lfs": {"size": int(size), "oid": str(sha256)}}:
            if not path.lower().endswith(".gguf"):
                return None
            if os.path.isabs(path) or ".." in Path(path).parts:
                raise DataError(f"The Hub lists a file {path!r} that would leave the cache.")
            if not _can_be_a_file(path):
                raise DataError(f"The Hub lists a file {path[:100]!r} whose name no file here can have.")
            return Listed(path=path, size=size, sha256=sha256)
        case _:
            return None


def _can_be_a_file(path: str) -> bool:
    """Whether a name can be that of a file: neither too long, with what a download appends to it, nor with NUL."""
    name, whole = max(map(len, map(os.fsencode, Path(path).parts))), len(os.fsencode(path))
    return name <= _LONGEST_NAME and whole <= _LONGEST_PATH and "\0" not in path


def _refused(repo: str, status: int) -> ConfigError | ModelUnavailable:
    page = f"{hub_address()}/{repo}"
    if status in (401, 403):
        return ConfigError(
            f"The Hub does not give {repo} to you ({status}): it does not exist, or it is private or gated. Check the "
            f"name; accept its licence at {page}; set HF_TOKEN to a token that may read it."
        )
    if status == 404:
        return ConfigError(f"The Hub has no model {repo}; check the name at {page}, or write a local path as ./{repo}.")
    return ModelUnavailable(f"The Hub answered {status} when asked for {repo}; try again later.")
