from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.support.toy import toy_policy
from tests.training.support.toy_roles import speaking_policy


@pytest.fixture(scope="session")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's policy, made once."""
    return toy_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="session")
def speaking_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The policy of the toy with two roles, made once."""
    return speaking_policy(tmp_path_factory.mktemp("speaking"))
