"""Confidence intervals (Wilson, paired bootstrap) and pass@k."""

from __future__ import annotations

from math import comb, sqrt
from typing import Any

import numpy as np

RESAMPLES = 10_000


def bootstrap(differences: np.ndarray[Any, np.dtype[np.float64]], seed: int) -> tuple[float, float]:
    """95 % percentile interval of the mean of paired differences (one per question)."""
    generator = np.random.default_rng(seed)
    n = len(differences)
    # One resample at a time: all of them at once would need 10,000 x n numbers in memory.
    means = [differences[generator.integers(0, n, n)].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def wilson(rate: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval for a rate in [0, 1] observed over n questions (Wilson, 1927)."""
    if n == 0:
        return 0.0, 1.0
    centre = rate + z * z / (2 * n)
    half = z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased estimate of the chance that at least one of k samples is correct (arXiv 2107.03374)."""
    return 1.0 - comb(samples - correct, k) / comb(samples, k)
