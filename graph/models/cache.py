"""The model files in the cache, by their names in specs."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from graph.errors import ConfigError
from graph.models.download import MODEL_FILES, cache_directory

_SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.gguf$)")


@dataclass(frozen=True)
class CachedModel:
    """One model in the cache."""

    name: str
    """As in a spec after `embedded:`."""
    paths: tuple[Path, ...]
    size: int
    """Bytes."""


def cached_models() -> list[CachedModel]:
    """The models in the cache; unfinished downloads count with their current size."""
    root = cache_directory()
    files: dict[str, list[Path]] = defaultdict(list)
    for entry in MODEL_FILES.values():
        files[entry.name] += sorted(root.glob(f"{entry.filename}*.part")) + sorted(root.glob(entry.filename))
    hub = root / "hub"
    for path in sorted([*hub.glob("*/*/**/*.gguf"), *hub.glob("*/*/**/*.gguf.*.part")]):
        name = re.sub(r"(?<=\.gguf)\..*$", "", path.relative_to(hub).as_posix())
        files[_SHARD.sub("", name)].append(path)
    return [
        CachedModel(name, tuple(paths), sum(path.stat().st_size for path in paths))
        for name, paths in files.items()
        if paths
    ]


def remove(name: str) -> int:
    """Delete a model's files; returns the number of bytes freed.

    Args:
        name: `0.5b`, a file name from `cached_models`, or `OWNER/REPO` for all files of a repository.

    Raises:
        ConfigError: there is no such model in the cache.
    """
    models = cached_models()
    chosen = [model for model in models if model.name == name or model.name.startswith(f"{name}/")]
    if not chosen:
        held = ", ".join(model.name for model in models) or "none"
        raise ConfigError(f"The cache holds no model {name!r}; it has: {held}.")
    for model in chosen:
        for path in model.paths:
            for name in (path.name, f"{path.name}.verified", f"{path.name}.lock"):
                path.with_name(name).unlink(missing_ok=True)
    return sum(model.size for model in chosen)
