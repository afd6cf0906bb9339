from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.support.toy import toy_policy


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's policy, made once."""
    return toy_policy(tmp_path_factory.mktemp("policy"))
