"""Load a benchmark's tasks, from a local file or from the Hugging Face Hub, and sample from them by seed."""

from __future__ import annotations

import os
import random
from importlib.resources import files
from pathlib import Path

from evals.benchmarks.files import ENDINGS, read_rows
from evals.benchmarks.registry import Benchmark, HubFile, benchmark
from evals.benchmarks.rows import tasks_of
from evals.task import Task
from graph.errors import ConfigError, DataError
from graph.models.hub_access import hub_address, why_unreachable


def load_tasks(name: str, data: str | Path | None = None) -> list[Task]:
    """All tasks of a benchmark, in the order of its file.

    Args:
        name: a key of `evals.benchmarks.registry.BENCHMARKS`.
        data: a file of questions (JSONL, JSON list, CSV, parquet), or a folder that holds one named after the
            benchmark; without it, the benchmark's file on the Hub (the environment's `HF_ENDPOINT`, `HF_TOKEN` and
            `HF_HOME` count).

    Raises:
        ConfigError: there is no such benchmark, or it needs `data`.
        DataError: the file cannot be had, or cannot be read as this benchmark.
    """
    entry = benchmark(name)
    if data is not None:
        path = _data_file(entry, Path(data))
        return tasks_of(read_rows(path), entry, path)
    if entry.packaged:
        path = Path(str(files("evals"))) / entry.packaged
        return tasks_of(read_rows(path), entry, path)
    if entry.hub is None:
        raise ConfigError(f"The benchmark {name!r} has no file of its own; name one with --data.")
    path = _download(entry, entry.hub)
    return tasks_of(read_rows(path), entry, path)


def in_split(tasks: list[Task], split: str) -> list[Task]:
    """The tasks of one part of a file, named by its column `split`; `all` means every task.

    Raises:
        ConfigError: no task is in that part.
    """
    if split == "all":
        return list(tasks)
    part = [task for task in tasks if task.metadata.get("split") == split]
    if not part:
        names = sorted({str(name) for task in tasks if (name := task.metadata.get("split"))})
        known = f"it has {', '.join(names)} and all" if names else "its rows have no column `split`"
        raise ConfigError(f"--split is {split!r}, and the file of questions has no such part: {known}.")
    return part


def sample(tasks: list[Task], limit: int | None, seed: int) -> list[Task]:
    """`limit` tasks drawn by seed, in the order of the file; all of them without a limit.

    The draw is a shuffle of the whole, so that a larger limit adds tasks to those of a smaller one and none is lost.
    """
    if limit is None or limit >= len(tasks):
        return list(tasks)
    if limit < 1:
        raise ConfigError(f"The limit is {limit}; ask for at least one question.")
    order = list(range(len(tasks)))
    random.Random(seed).shuffle(order)
    return [tasks[index] for index in sorted(order[:limit])]


def _data_file(entry: Benchmark, path: Path) -> Path:
    if not path.is_dir():
        return path
    names = [f"{stem}{ending}" for stem in (entry.name, "data") for ending in ENDINGS]
    for name in names:
        if (path / name).is_file():
            return path / name
    raise DataError(
        f"The folder {path} holds no {entry.name}{{{','.join(ENDINGS)}}}; name the file itself with --data."
    )


def _download(entry: Benchmark, source: HubFile) -> Path:
    """The benchmark's file, from the local cache where it has been downloaded before."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise ConfigError(
            f"Loading {entry.title} from the Hub needs huggingface_hub: run `pip install huggingface_hub`, "
            "or name a local file with --data."
        ) from None
    unreachable = why_unreachable()
    for path in source.paths:
        try:
            found = hf_hub_download(
                source.repo,
                path,
                repo_type="dataset",
                revision=source.revision,
                endpoint=os.environ.get("HF_ENDPOINT"),
                local_files_only=bool(unreachable),
            )
            return Path(found)
        except LocalEntryNotFoundError as error:
            if unreachable:
                continue  # another of the paths may be in the cache
            raise DataError(_not_downloaded(entry, source, type(error).__name__, "check the connection")) from error
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, OSError) as error:
            hint = "accept its terms on the Hub and set HF_TOKEN" if source.gated else "check the connection"
            raise DataError(_not_downloaded(entry, source, type(error).__name__, hint)) from error
    if unreachable:
        reason = f"the Hub at {hub_address()} cannot be reached: {unreachable}"
        raise DataError(_not_downloaded(entry, source, reason, "check the connection"))
    raise DataError(f"The data set {source.repo} has no file {' or '.join(source.paths)}; name one with --data.")


def _not_downloaded(entry: Benchmark, source: HubFile, reason: str, hint: str) -> str:
    return (
        f"{entry.title} could not be downloaded from the data set {source.repo} ({reason}); {hint}, "
        "or name a local file with --data."
    )
