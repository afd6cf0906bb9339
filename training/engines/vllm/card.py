"""How trainer and server share a GPU: at the same time, or in turns if both do not fit.

The server takes a share of the memory when it starts. In turns, it sleeps during updates and then holds only `ASLEEP`;
during rollouts the trainer holds only what remains between updates.
"""

from __future__ import annotations

from dataclasses import dataclass

USABLE = 0.95
"""Share of a GPU's memory that plans may use."""

OVERHEAD = 3 * 2**30
"""Bytes of a server apart from weights and cache: CUDA context, largest pass, CUDA graphs with and without adapters
(2.4 GiB were reported for these)."""

ASLEEP = 1.5 * 2**30
"""Bytes of a sleeping server."""

_SPARE = 1.5
"""Largest useful cache, relative to the open transcripts."""


@dataclass(frozen=True)
class Needs:
    """Memory needs of trainer and server, in bytes."""

    resident: float
    """Of the trainer, between updates."""
    updating: float
    """Of the trainer in total, during an update."""
    weights: float
    """Of the server: the model and its adapters."""
    least_cache: float
    """Smallest cache with which the server works."""
    wanted_cache: float
    """Cache for all transcripts that are open at the same time."""


@dataclass(frozen=True)
class CardShare:
    """The server's share of the GPU."""

    server: float
    """Bytes while it is awake."""
    kv_cache: float
    """Part of these for keys and values."""
    sleeps: bool
    fits: bool

    def of(self, total: float) -> float:
        """The server's share of a GPU's memory, for `--gpu-memory-utilization`."""
        return min(0.95, self.server / total)


def share_card(needs: Needs, memory: float, *, overlap: bool = False) -> CardShare:
    """The server's share of a GPU.

    Args:
        needs: of trainer and server.
        memory: bytes of the GPU.
        overlap: whether rollouts run during updates; the server then never sleeps.
    """
    usable = USABLE * memory
    fixed = needs.weights + OVERHEAD
    beside = usable - needs.updating - fixed
    in_turns = usable - needs.resident - fixed
    sleeps = beside < needs.least_cache and not overlap and needs.updating + ASLEEP <= usable
    room = in_turns if sleeps else beside
    cache = max(0.0, min(room, max(needs.least_cache, _SPARE * needs.wanted_cache)))
    return CardShare(server=fixed + cache, kv_cache=cache, sleeps=sleeps, fits=room >= needs.least_cache)
