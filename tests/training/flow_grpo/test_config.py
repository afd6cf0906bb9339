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


@pytest.mark.parametrize("name", ["seed", "steps", "lora_rank", "token_budget", "refill"])
def test_numbers_that_no_library_takes_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` is {10**30}; it should be less than or equal to"):
        config(**{name: 10**30})


def test_a_group_is_no_larger_than_can_be_begun_together() -> None:
    with pytest.raises(ConfigError, match="`group_size` is 1000000000; it should be less than or equal to 10000"):
        config(group_size=10**9)
