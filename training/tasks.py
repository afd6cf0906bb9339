"""Where tasks come from, and which of them a step is given."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evals import data
from evals.benchmarks import BENCHMARKS, benchmark
from evals.files import read_rows
from evals.rows import tasks_of
from evals.scorers import SCORERS
from evals.task import Task
from graph.errors import ConfigError, DataError
from training.records import seed_from


def load_tasks(spec: str) -> list[Task]:
    """Tasks to train on or to validate with.

    Args:
        spec: a file of questions (JSONL, JSON, CSV, parquet); `benchmark:NAME`, one that `python -m evals list` shows;
            `hub:OWNER/NAME/PATH`, a file of a data set on the Hub. `@SCORER` at the end names the scorer of questions
            that name none; several specs are joined by `+`.

    Raises:
        ConfigError: the spec names nothing known.
        DataError: a file cannot be had or read, or two tasks bear one id.
    """
    parts = [part.strip() for part in spec.split("+")]
    if len(parts) == 1:
        return _load(parts[0])
    return [replace(task, id=f"{number}-{task.id}") for number, part in enumerate(parts) for task in _load(part)]


def _load(spec: str) -> list[Task]:
    place, _, scorer = spec.rpartition("@")
    if scorer in SCORERS and place:
        spec = place
    else:
        scorer = "match"
    kind, _, rest = spec.partition(":")
    if kind == "benchmark":
        return data.load_tasks(rest)
    form = replace(benchmark("own"), fields=_COLUMNS, scorer=scorer)
    if kind == "hub":
        path = _from_hub(rest)
        return tasks_of(read_rows(path), form, path)
    path = Path(spec).expanduser()
    if not path.is_file():
        known = ", ".join(BENCHMARKS)
        raise DataError(
            f"There is no file of tasks at {spec}; name a file, benchmark:NAME ({known}) or hub:OWNER/NAME/PATH."
        )
    return tasks_of(read_rows(path), form, path)


_COLUMNS = replace(
    benchmark("own").fields,
    question=("question", "problem", "prompt", "Question"),
    answers=("answers", "answer", "golden_answers", "final_answer", "solution", "Answer"),
)
"""Columns of the data sets that people train on (NQ of FlashRAG, DeepMath-103K), beside our own."""


def _from_hub(place: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    owner, _, rest = place.partition("/")
    name, _, path = rest.partition("/")
    if not (owner and name and path):
        raise ConfigError(f"hub:{place} names no file; write hub:OWNER/NAME/PATH.")
    try:
        return Path(hf_hub_download(f"{owner}/{name}", path, repo_type="dataset"))
    except (HfHubHTTPError, OSError) as error:
        raise DataError(
            f"{path} of the data set {owner}/{name} could not be downloaded ({type(error).__name__}); check the name "
            "and the connection, or name a local file."
        ) from error


class Schedule:
    """Which tasks each step gets: every epoch in another order, no task twice in a step, a function of the seed alone.

    Where the number of tasks does not divide by the step's, the rest of an epoch waits for the next shuffle.

    Raises:
        ConfigError: there are fewer tasks than a step takes.
    """

    def __init__(self, tasks: Sequence[Task], per_step: int, seed: int) -> None:
        if len(tasks) < per_step:
            raise ConfigError(
                f"A step takes {per_step} tasks, but there are only {len(tasks)}; lower tasks_per_step or add tasks."
            )
        self._tasks = list(tasks)
        self._per_step = per_step
        self._seed = seed

    def of_step(self, step: int, round_: int = 0) -> list[Task]:
        """The tasks of a step; of a further round of the same step others, drawn at random."""
        if round_:
            chance = random.Random(seed_from(self._seed, "refill", step, round_))
            first = {task.id for earlier in range(round_) for task in self.of_step(step, earlier)}
            rest = [task for task in self._tasks if task.id not in first]
            return chance.sample(rest, min(self._per_step, len(rest)))
        epoch, place = divmod(step, len(self._tasks) // self._per_step)
        order = list(self._tasks)
        random.Random(seed_from(self._seed, "epoch", epoch)).shuffle(order)
        return order[place * self._per_step : (place + 1) * self._per_step]
