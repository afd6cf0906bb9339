"""Counts with their nouns, and types with their articles, in messages for people."""

from __future__ import annotations


def many(number: int, noun: str, plural: str = "") -> str:
    """A count and its noun in the right number, e.g. `1 update` and `1,200 updates`.

    Args:
        number: how many.
        noun: in the singular; words before it stay as they are.
        plural: of the noun, if it is not made with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def kind_of(value: object) -> str:
    """The type of a value with its article: "an int", "a list"."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
