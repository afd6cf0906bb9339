"""Training transcripts: successful rollouts, token for token as they were sampled, and which of them an update sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil
from pathlib import Path

import numpy as np

from graph.errors import ConfigError, DataError
from tools.counts import many
from training.rollouts.records import Rollout
from training.rollouts.store import read_rollouts
from training.sft.config import SFTSettings
from training.update.assemble import rows_of
from training.update.rows import Row

_MOST_SEEN = 10_000_000
"""Transcripts of a whole run, repetitions counted."""


@dataclass(frozen=True)
class Examples:
    """Training transcripts."""

    rows: list[Row]
    """Their terms are the tokens with loss."""
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
    rows: list[Row] = []
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
            learned = row.terms.take(np.flatnonzero(row.terms.weights))
            key = (rollout.task.id, tuple(row.input_ids.tolist()))
            if len(row) > settings.max_length:
                too_long += 1
            elif settings.dedupe and key in seen:
                duplicates += 1
            elif settings.per_task and of_task[rollout.task.id] >= settings.per_task:
                enough += 1
            elif len(learned):
                seen.add(key)
                of_task[rollout.task.id] += 1
                rows.append(replace(row, terms=learned))
    if not rows:
        raise DataError(
            f"No rollout of {settings.rollouts} can be used: {successes} of {total} earned {settings.min_reward:g} or "
            f"more, {many(too_long, 'transcript is', 'transcripts are')} longer than max_length; lower min_reward."
        )
    return Examples(rows, successes, total, duplicates, too_long, enough)


def _with_loss(rollout: Rollout, settings: SFTSettings) -> list[float]:
    """For each turn 1 if it carries loss, else 0."""
    if not settings.accepted_only or len(rollout.memory) != len(rollout.turns):
        return [1.0] * len(rollout.turns)
    return [float(turn["verdict"]["accepted"]) for turn in rollout.memory]


def updates(rows: Sequence[Row], settings: SFTSettings) -> list[list[int]]:
    """The transcripts of each update, by their places in `rows`; every pass has an order of its own.

    With `max_trained_tokens` the last update ends with the transcript that reaches them.

    Raises:
        ConfigError: more would be seen than can be listed.
    """
    size, most = settings.batch_size, settings.max_trained_tokens
    passes = most / max(1, sum(len(row.terms) for row in rows)) if most else settings.epochs
    if passes * len(rows) > _MOST_SEEN:
        name = "max_trained_tokens" if most else "epochs"
        raise ConfigError(
            f"The setting `{name}` is {getattr(settings, name)}, which repeats {many(len(rows), 'transcript')} "
            f"{passes:,.0f} times; lower it, so that at most {_MOST_SEEN:,} are seen."
        )
    a_pass = -(-len(rows) // size)
    count = ceil(settings.epochs * a_pass)
    chance = np.random.default_rng(settings.seed)
    chosen: list[list[int]] = []
    seen = 0
    while seen < most if most else len(chosen) < count:
        order = chance.permutation(len(rows)).tolist()
        for first in range(0, len(rows), size):
            members = order[first : first + size]
            if most:
                before = accumulate((len(rows[member].terms) for member in members), initial=seen)
                members = [member for member, tokens in zip(members, before, strict=False) if tokens < most]
            seen += sum(len(rows[member].terms) for member in members)
            chosen += [members] if members else []
    return chosen if most else chosen[:count]


def rollouts_of(spec: str) -> Iterator[Rollout]:
    """The stored rollouts of all paths in `spec`, joined by `+`."""
    for part in spec.split("+"):
        yield from read_rollouts(Path(part.strip()).expanduser())
