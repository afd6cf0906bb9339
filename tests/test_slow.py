"""The list of slow tests names tests that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SLOW

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("entry", SLOW)
def test_every_entry_is_there(entry: str) -> None:
    path, _, function = entry.partition("::")
    assert (ROOT / path).exists()
    assert not function or f"def {function}(" in (ROOT / path).read_text()


def test_the_list_is_in_order() -> None:
    assert list(SLOW) == sorted(set(SLOW))
