"""Lists of words, as the rules of the scorers hold them."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text that is nothing but a list of them."""
    return frozenset(text.split())
