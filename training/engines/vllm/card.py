"""How trainer and server share one GPU: side by side, or in turns where both do not fit at once.

The server takes a share of the memory when it starts, and keeps it. In turns, it sleeps while the trainer updates: what
it then holds is `ASLEEP`, and while rollouts are made the trainer holds what stays between updates alone.
"""

from __future__ import annotations

from dataclasses import dataclass

USABLE = 0.95
"""Share of a GPU's memory that is planned with."""

OVERHEAD = 3 * 2**30
"""Bytes of a server beside weights and cache: its context, its largest pass, CUDA graphs with and without adapters
(2.4 GiB were reported for these)."""

ASLEEP = 1.5 * 2**30
"""Bytes that a sleeping server holds."""

_SPARE = 1.5
"""As much more cache than the open transcripts take is of no further use."""


@dataclass(frozen=True)
class Needs:
    """Bytes that trainer and server need."""

    resident: float
    """Of the trainer, between updates."""
    updating: float
    """Of the trainer, in all, while it updates."""
    weights: float
    """Of the server: the model and its adapters."""
    least_cache: float
    """Of the server's cache: with less it could not work."""
    wanted_cache: float
    """What the transcripts take that are open at one time."""


@dataclass(frozen=True)
class CardShare:
    """What the server gets of the GPU."""

    server: float
    """Bytes that it takes while it is awake."""
    kv_cache: float
    """Bytes of these for keys and values."""
    sleeps: bool
    fits: bool

    def of(self, total: float) -> float:
        """The server's part of a GPU's memory, as `--gpu-memory-utilization` takes it."""
        return min(0.95, self.server / total)


def share_card(needs: Needs, memory: float, *, overlap: bool = False) -> CardShare:
    """The server's share of a GPU.

    Args:
        needs: of trainer and server.
        memory: bytes of the GPU.
        overlap: whether rollouts are made while the trainer updates; the server can then never sleep.
    """
    usable = USABLE * memory
    fixed = needs.weights + OVERHEAD
    beside = usable - needs.updating - fixed
    in_turns = usable - needs.resident - fixed
    sleeps = beside < needs.least_cache and not overlap and needs.updating + ASLEEP <= usable
    room = in_turns if sleeps else beside
    cache = max(0.0, min(room, max(needs.least_cache, _SPARE * needs.wanted_cache)))
    return CardShare(server=fixed + cache, kv_cache=cache, sleeps=sleeps, fits=room >= needs.least_cache)
