"""Freed memory stays with the process where glibc can be told so, and nothing changes where it cannot."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import resource
from training.models.allocator import keep_freed_memory
print(keep_freed_memory() if {keep} else False)
size = 64 << 20
def once():
    block = bytearray(size)
once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(*, keep: bool, environment: dict[str, str]) -> tuple[bool, int]:
    """Whether the setting was made, and page faults of five large blocks."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(keep=keep)], env=environment, capture_output=True, text=True, check=True
    )
    made, faults = done.stdout.split()
    return made == "True", int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_large_blocks_are_not_fetched_from_the_kernel_again() -> None:
    environment = {"PATH": "/usr/bin:/bin"}
    made, faults = run(keep=True, environment=environment)
    if not made:
        pytest.skip("no glibc here")
    _, usual = run(keep=False, environment=environment)
    assert faults < usual / 10


def test_the_users_own_settings_win() -> None:
    made, _ = run(keep=True, environment={"PATH": "/usr/bin:/bin", "MALLOC_ARENA_MAX": "2"})
    assert not made
