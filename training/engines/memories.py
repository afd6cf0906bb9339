"""A cache of keys and values between the turns of a run, looked up by token ids."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

IntArray = NDArray[np.int64]

Owner = tuple[str, str]
"""Adapter and run. A run has a transcript with each adapter; another adapter computes other keys and values."""


class Memories:
    """The newest transcript of each owner, up to a number of tokens in all; the longest unused go first.

    Args:
        limit: largest total number of tokens.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[Owner, tuple[IntArray, Tensor]] = OrderedDict()
        self._tokens = 0

    def keep(self, owner: Owner, ids: Sequence[int], memory: Tensor) -> None:
        """Keep a transcript's memory in place of what the owner had."""
        self._forget(owner)
        self._kept[owner] = np.array(ids, dtype=np.int64), memory
        self._tokens += len(ids)
        while self._tokens > self._limit:
            self._forget(next(iter(self._kept)))

    def longest(self, ids: Sequence[int], owner: Owner) -> Tensor | None:
        """The longest memory that `ids` begin with, its owner's or one of another run; at least one token is left."""
        wanted = np.array(ids[:-1], dtype=np.int64)
        if owner in self._kept and len(own := self._kept[owner][0]) == common_prefix(own, wanted):
            self._kept.move_to_end(owner)
            return self._kept[owner][1]
        adapter, _ = owner
        shared = {name: common_prefix(known, wanted) for name, (known, _) in self._kept.items() if name[0] == adapter}
        name = max(shared, key=lambda key: shared[key], default=None)
        if name is None or not shared[name]:
            return None
        self._kept.move_to_end(name)
        return self._kept[name][1][:, :, :, : shared[name]]

    def clear(self) -> None:
        """Removes everything, since the weights have changed."""
        self._kept.clear()
        self._tokens = 0

    def _forget(self, owner: Owner) -> None:
        if owner in self._kept:
            self._tokens -= len(self._kept.pop(owner)[0])


def common_prefix(a: IntArray, b: IntArray) -> int:
    """The length of the common prefix of two sequences."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length
