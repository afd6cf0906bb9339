"""Training transcripts: successful rollouts, token for token as they were sampled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from graph.errors import DataError
from training.rollouts.records import Rollout
from training.rollouts.store import read_rollouts
from training.sft.config import SFTSettings
from training.update.assemble import rows_of


@dataclass(frozen=True)
class Examples:
    """Training transcripts."""

    rows: list[dict[str, list[int]]]
    """`input_ids`, and `labels` with -100 at tokens without loss."""
    successes: int
    """Rollouts with enough reward."""
    rollouts: int
    duplicates: int
    too_long: int
    enough: int
    """Transcripts left out because their task already had `per_task`."""


def examples(rollouts: Iterator[Rollout], settings: SFTSettings) -> Examples:
    """The transcripts of successful rollouts, token for token as they were sampled.

    Raises:
        DataError: no rollout has enough reward.
    """
    rows: list[dict[str, list[int]]] = []
    seen: set[tuple[str, tuple[int, ...]]] = set()
    of_task: Counter[str] = Counter()
    total = successes = duplicates = too_long = enough = 0
    for rollout in rollouts:
        total += 1
        if rollout.reward is None or rollout.reward < settings.min_reward:
            continue
        successes += 1
        kept = _with_loss(rollout, settings)
        for row in rows_of(rollout, kept, kept):
            ids = row.input_ids.tolist()
            chosen = row.terms.positions[row.terms.weights > 0].tolist()
            key = (rollout.task.id, tuple(ids))
            if len(ids) > settings.max_length:
                too_long += 1
            elif settings.dedupe and key in seen:
                duplicates += 1
            elif settings.per_task and of_task[rollout.task.id] >= settings.per_task:
                enough += 1
            elif chosen:
                seen.add(key)
                of_task[rollout.task.id] += 1
                learned = set(chosen)
                labels = [token if place in learned else -100 for place, token in enumerate(ids)]
                rows.append({"input_ids": ids, "labels": labels})
    if not rows:
        raise DataError(
            f"None of the {total} rollouts of {settings.rollouts} can be used: {successes} earned "
            f"{settings.min_reward:g} or more, {too_long} transcripts are longer than max_length; lower min_reward."
        )
    return Examples(rows, successes, total, duplicates, too_long, enough)


def _with_loss(rollout: Rollout, settings: SFTSettings) -> list[float]:
    """For each turn 1 if it carries loss, else 0."""
    if not settings.accepted_only or len(rollout.memory) != len(rollout.turns):
        return [1.0] * len(rollout.turns)
    return [float(turn["verdict"]["accepted"]) for turn in rollout.memory]


def rollouts_of(spec: str) -> Iterator[Rollout]:
    """The stored rollouts of all paths in `spec`, joined by `+`."""
    for part in spec.split("+"):
        yield from read_rollouts(Path(part.strip()).expanduser())
