"""The project as an image gets it."""

from __future__ import annotations

import fnmatch
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy without what `.dockerignore` names."""
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#", "!")]
    everywhere = [line.removeprefix("**/") for line in ignored if line.startswith("**/")]
    at_the_top = [line for line in ignored if not line.startswith("**/")]

    def left_out(folder: str, names: list[str]) -> set[str]:
        patterns = everywhere + at_the_top * (Path(folder) == ROOT)
        return {name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)}

    return shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "project", ignore=left_out)
