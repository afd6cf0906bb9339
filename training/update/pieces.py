"""The attention calls that a forest of packed rows is put together from."""

from __future__ import annotations

from typing import NamedTuple

Span = tuple[int, int]
"""A range [start, end) of packed tokens."""


class Piece(NamedTuple):
    """One attention call: `queries` attend to `keys`, to all of them or causally.

    In a causal piece `queries` is the last span of `keys`, and the spans before it are its short ancestors.
    """

    queries: Span
    keys: tuple[Span, ...]
    causal: bool
