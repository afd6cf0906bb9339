"""The sources of tasks."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import Any

from evals.benchmarks import loading as data
from evals.benchmarks.files import read_rows
from evals.benchmarks.registry import BENCHMARKS, benchmark
from evals.benchmarks.rows import tasks_of
from evals.scorers import SCORERS
from evals.task import Task
from graph.errors import AgentFlowError, ConfigError, DataError
from graph.models.hub_access import why_unreachable
from training.run.imports import imported, in_words


def load_tasks(spec: str) -> list[Task]:
    """Tasks to train on or to validate with.

    Args:
        spec: a file of questions (JSONL, JSON, CSV, parquet); `benchmark:NAME`, one that `python -m evals list` shows;
            `hub:OWNER/NAME/PATH`, a file of a data set on the Hub; `package.module:function`, whose result are rows as
            in a file. A path may hold `*` and stand for several files.
            `@SCORER` at the end names the scorer of questions that name none; several specs are joined by `+`.

    Raises:
        ConfigError: the spec names nothing known.
        DataError: a file cannot be had or read, or two tasks bear one id.
    """
    whole = any(os.path.isfile(os.path.expanduser(place)) for place in (spec, _place_and_scorer(spec)[0]))
    parts = [spec] if whole else [part.strip() for part in spec.split("+")]
    if len(parts) == 1:
        return _load(parts[0])
    return [replace(task, id=f"{number}-{task.id}") for number, part in enumerate(parts) for task in _load(part)]


def _place_and_scorer(spec: str) -> tuple[str, str]:
    place, _, scorer = spec.rpartition("@")
    return (place, scorer) if scorer in SCORERS and place else (spec, "match")


def _load(spec: str) -> list[Task]:
    spec, scorer = _place_and_scorer(spec)
    kind, _, rest = spec.partition(":")
    if kind == "benchmark":
        return data.load_tasks(rest)
    form = replace(benchmark("own"), scorer=scorer)
    if kind != "hub" and _IMPORT_PATH.fullmatch(spec) and not os.path.exists(spec):
        return tasks_of(_imported(spec), form, Path(spec))
    files = _from_hub(rest) if kind == "hub" else _here(spec)
    rows = [row for path in files for row in read_rows(path)]
    return tasks_of(rows, form, files[0] if len(files) == 1 else Path(spec))


_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _imported(spec: str) -> list[dict[str, Any]]:
    """The rows that a function makes."""
    function = imported(spec, "The tasks")
    try:
        rows = list(function())
    except AgentFlowError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"The tasks {spec!r} could not be made: {in_words(error)}.") from error
    if not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"The tasks {spec!r} are no rows; return a list of dicts with `question` and `answer`.")
    return rows


def _here(spec: str) -> list[Path]:
    named = os.path.expanduser(spec)
    found = [named] if os.path.isfile(named) else sorted(glob(named))
    files = [Path(path) for path in found if os.path.isfile(path)]
    if not files:
        known = ", ".join(BENCHMARKS)
        raise DataError(
            f"There is no file of tasks at {spec}; name a file, benchmark:NAME ({known}) or hub:OWNER/NAME/PATH."
        )
    return files


def _from_hub(place: str) -> list[Path]:
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        raise ConfigError(f"hub:{place} needs a package; run `pip install huggingface_hub`.") from None
    owner, _, rest = place.partition("/")
    name, _, path = rest.partition("/")
    if not (owner and name and path):
        raise ConfigError(f"hub:{place} names no file; write hub:OWNER/NAME/PATH.")
    repo = f"{owner}/{name}"
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    unreachable = why_unreachable()
    paths = [path]
    try:
        if "*" in path:
            if unreachable:
                raise ConnectionError(unreachable)
            paths = sorted(fnmatch.filter(hub.list_repo_files(repo, repo_type="dataset"), path))
        files = [
            Path(hub.hf_hub_download(repo, each, repo_type="dataset", local_files_only=bool(unreachable)))
            for each in paths
        ]
    except (HfHubHTTPError, OSError) as error:
        raise DataError(
            f"{path} of the data set {repo} could not be downloaded ({unreachable or type(error).__name__}); check the "
            "name and the connection, or name a local file."
        ) from error
    if not files:
        raise DataError(f"The data set {repo} has no file {path}; check the name.")
    return files
