"""Keys and values that are kept between the turns of a run, and found again by their tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

IntArray = NDArray[np.int64]


class Memories:
    """The newest transcript of each run, up to a number of tokens in all; the longest unused go first.

    Args:
        limit: tokens that may be kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, tuple[IntArray, Tensor]] = OrderedDict()
        self._tokens = 0

    def keep(self, run: str, ids: Sequence[int], memory: Tensor) -> None:
        """Keep a transcript's memory in place of what the run had."""
        self._forget(run)
        self._kept[run] = np.array(ids, dtype=np.int64), memory
        self._tokens += len(ids)
        while self._tokens > self._limit:
            self._forget(next(iter(self._kept)))

    def longest(self, ids: Sequence[int], run: str) -> Tensor | None:
        """The longest memory that `ids` begin with, its own run's or another's; at least one token is left over."""
        wanted = np.array(ids[:-1], dtype=np.int64)
        if run in self._kept and len(own := self._kept[run][0]) == common_prefix(own, wanted):
            self._kept.move_to_end(run)
            return self._kept[run][1]
        shared = {name: common_prefix(known, wanted) for name, (known, _) in self._kept.items()}
        name = max(shared, key=lambda key: shared[key], default=None)
        if name is None or not shared[name]:
            return None
        self._kept.move_to_end(name)
        return self._kept[name][1][:, :, :, : shared[name]]

    def clear(self) -> None:
        """Forget all: the weights have changed."""
        self._kept.clear()
        self._tokens = 0

    def _forget(self, run: str) -> None:
        if run in self._kept:
            self._tokens -= len(self._kept.pop(run)[0])


def common_prefix(a: IntArray, b: IntArray) -> int:
    """How many tokens two sequences begin with alike."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length
