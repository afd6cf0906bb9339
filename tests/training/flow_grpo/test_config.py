"""The settings of a run of Flow-GRPO."""

from __future__ import annotations

import pytest

from graph.errors import ConfigError
from training.flow_grpo.config import FlowGRPOConfig


def config(**values: object) -> FlowGRPOConfig:
    return FlowGRPOConfig(**{"model": "m", "out": "o", "tasks": "t", **values})  # type: ignore[arg-type]


def test_runs_keep_the_checks_for_small_models_unless_told_otherwise() -> None:
    assert config().context.checks == "on"
    assert config(checks="off").context.checks == "off"
    with pytest.raises(ConfigError, match="checks"):
        config(checks="sometimes")
