"""Where the benchmark files are, for the tests that read them; they are never part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with benchmark files; tests that need it are skipped where it does not exist."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("AGENTFLOW_SHARED_DATA", default))
    if not (folder / "benchmarks").is_dir():
        pytest.skip(f"no benchmark files at {folder}; set AGENTFLOW_SHARED_DATA to their folder")
    return folder
