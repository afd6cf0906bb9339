"""Random rows that fork, repeat and contain each other."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from training.update.rows import Row, Terms


def row(ids: list[int], positions: list[int] | None = None, advantage: float = 1.0, rollout: int = 0) -> Row:
    positions = list(range(1, len(ids))) if positions is None else positions
    count = len(positions)
    terms = Terms(
        positions, np.full(count, 0.5), np.full(count, advantage), -np.arange(count) / 7, np.arange(count) // 2
    )
    return Row(ids, terms, group="g", rollout=rollout)


@st.composite
def forests(draw: st.DrawFn) -> list[Row]:
    """Rows over three token ids, so that they share prefixes, fork often, repeat and contain each other."""
    rows = []
    for rollout in range(draw(st.integers(1, 9))):
        ids = draw(st.lists(st.integers(0, 2), min_size=1, max_size=12))
        trained = draw(st.lists(st.booleans(), min_size=len(ids) - 1, max_size=len(ids) - 1))
        positions = [place + 1 for place, keep in enumerate(trained) if keep]
        rows.append(row(ids, positions, advantage=draw(st.sampled_from([-1.0, 1.0])), rollout=rollout))
    return rows
