"""Confidence intervals (Wilson, paired bootstrap), the sign test of paired runs, and pass@k."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, sqrt
from typing import Any

import numpy as np

from tools.counts import many

RESAMPLES = 10_000
LEVEL = 0.05
"""A smaller p is significant."""


def bootstrap(differences: np.ndarray[Any, np.dtype[np.float64]], seed: int) -> tuple[float, float]:
    """95 % percentile interval of the mean of paired differences (one per question)."""
    generator = np.random.default_rng(seed)
    n = len(differences)
    # One resample at a time: all of them at once would need 10,000 x n numbers in memory.
    means = [differences[generator.integers(0, n, n)].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class Paired:
    """The paired differences of two runs, and whether they tell the runs apart.

    The bootstrap alone takes few differences for certain: with 2 questions won and none lost its interval leaves out 0.
    So the exact sign test over the questions that differ (with one answer to each, McNemar's test) has to agree.
    """

    interval: tuple[float, float]
    """95 % bootstrap interval of the mean."""
    won: int
    """Questions on which the second run is better."""
    lost: int

    @classmethod
    def of(cls, differences: np.ndarray[Any, np.dtype[np.float64]], seed: int) -> Paired:
        """Of the differences of all questions."""
        return cls(bootstrap(differences, seed), int((differences > 0).sum()), int((differences < 0).sum()))

    @property
    def p(self) -> float:
        """Two-sided p of the exact sign test; 1 if no question differs."""
        differing = self.won + self.lost
        tail = sum(comb(differing, n) for n in range(min(self.won, self.lost) + 1))
        return min(1.0, 2 * tail / (1 << differing))

    @property
    def direction(self) -> str:
        """`better` or `worse` if interval and sign test agree at 5 %, else empty."""
        low, high = self.interval
        if self.p >= LEVEL:
            return ""
        return "better" if low > 0 and self.won > self.lost else "worse" if high < 0 and self.lost > self.won else ""

    @property
    def grounds(self) -> str:
        """What the direction rests on, in words."""
        differing = self.won + self.lost
        return (
            f"95 % bootstrap interval over questions, {RESAMPLES:,} resamples; exact sign test over the "
            f"{many(differing, 'question that differs', 'questions that differ')}: p = {self.p:.3g}"
        )


Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def wilson(rate: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for a rate in [0, 1] observed over n questions (Wilson, 1927)."""
    if n == 0:
        return 0.0, 1.0
    centre = rate + Z95 * Z95 / (2 * n)
    half = Z95 * sqrt(rate * (1 - rate) / n + Z95 * Z95 / (4 * n * n))
    scale = 1 + Z95 * Z95 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased estimate of the chance that at least one of k samples is correct (arXiv 2107.03374)."""
    return 1.0 - comb(samples - correct, k) / comb(samples, k)
