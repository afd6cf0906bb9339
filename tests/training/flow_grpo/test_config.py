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
    with pytest.raises(ConfigError, match=f"`{name}` is {10**30}; it has to be at most 4,294,967,295"):
        config(**{name: 10**30})


def test_a_group_is_no_larger_than_can_be_begun_together() -> None:
    with pytest.raises(ConfigError, match="`group_size` is 1000000000; it has to be at most 10,000"):
        config(group_size=10**9)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("learning_rate", "abc", "`learning_rate` is 'abc'; it has to be a number."),
        ("learning_rate", 0, "`learning_rate` is 0; it has to be more than 0."),
        ("beta", float("inf"), "`beta` is inf; it has to be a finite number."),
        ("steps", "ten", "`steps` is 'ten'; it has to be a whole number."),
        ("steps", 1.5, "`steps` is 1.5; it has to be a whole number."),
        ("steps", True, "`steps` is True; it has to be a number."),
        ("learning_rate", True, "`learning_rate` is True; it has to be a number."),
        ("out", "runs\0a", "`out` is 'runs\\x00a'; take the null character out."),
        ("steps", 0, "`steps` is 0; it has to be at least 1."),
        ("token_budget", "much", "`token_budget` is 'much'; it has to be a whole number or 'auto'."),
        ("overlap", "perhaps", "`overlap` is 'perhaps'; it has to be true or false."),
        ("dtype", "int8", "`dtype` is 'int8'; it has to be 'float32' or 'bfloat16'."),
        ("model", 5, "`model` is 5; it has to be a text."),
        ("report_to", 5, "`report_to` is 5; it has to be a list."),
        ("agent_models", {"judge": 5}, "`agent_models.judge` is 5; it has to be a text."),
    ],
)
def test_a_bad_value_is_told_with_what_it_has_to_be(name: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**{name: value})
    assert str(caught.value) == f"The setting {words}"
