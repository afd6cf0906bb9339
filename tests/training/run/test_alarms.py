"""A policy that collapses is told of in words, once, with the next thing to try."""

from __future__ import annotations

import re

import pytest

from training.run.alarms import Alarms

USUAL = {
    "entropy": 1.0, "entropy/solver": 1.0, "completion_tokens": 60.0, "turns": 3.0, "repeated_plans": 0.05,
    "zero_variance": 0.3, "reward": 0.4, "logprob_gap": 0.01,
}  # fmt: skip


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        ({"entropy": 0.1}, r"entropy fell to 0\.1 .*recently 1.*lower learning_rate"),
        ({"entropy/solver": 0.1}, r"entropy of the role solver fell to 0\.1 .*recently 1"),
        ({"completion_tokens": 400.0}, r"Replies now take 400 tokens \(recently 60\).*training\.replay"),
        ({"completion_tokens": 9.0}, "Replies now take 9 tokens"),
        ({"repeated_plans": 0.8}, "80% of the later plans.*repeat an earlier one"),
        ({"zero_variance": 0.95, "reward": 0.97}, "teach nothing.*all solved: use harder"),
        ({"zero_variance": 1.0, "reward": 0.0}, "teach nothing.*none solved: use easier"),
        ({"zero_variance": 1.0, "pass_rate": 0.5}, "each is all solved or not at all: use larger groups"),
        ({"logprob_gap": 0.5}, r"disagree by 0\.5 nats"),
        ({"ended_by/time": 1.0}, "100% of the runs ended because their time was over.*raise max_seconds"),
        ({"rollouts": 64.0, "failed/late": 8.0}, r"12% .*stragglers.*failed/late.*raise tail_seconds"),
        ({"rollouts": 64.0, "failed/reward": 4.0}, r"6% .*error of the reward function.*return a number"),
        ({"rollouts": 64.0, "failed/unavailable": 16.0}, r"25% .*did not answer"),
        ({"rollouts": 64.0, "failed/model": 32.0}, r"50% .*failed with an error.*failed/model"),
        ({"unreadable_calls": 0.8}, r"hold 0\.8 tool calls.*cannot be read"),
    ],
)
def test_each_sign_is_told_once_until_it_has_gone(sign: dict[str, float], words: str) -> None:
    alarms = Alarms()
    for _ in range(6):
        assert alarms.check(USUAL) == []
    [told] = alarms.check(USUAL | sign)
    assert told.endswith(".")
    assert re.search(words, told)
    assert alarms.check(USUAL | sign) == []
    assert alarms.check(USUAL) == []
    assert len(alarms.check(USUAL | sign)) == 1


def test_what_is_usual_must_be_known_first() -> None:
    alarms = Alarms()
    for entropy in (1.0, 0.9, 0.01, 1.1):  # four steps are no usual
        assert alarms.check(USUAL | {"entropy": entropy}) == []


def test_a_slow_fall_is_no_alarm_and_missing_figures_are_none() -> None:
    alarms = Alarms()
    for step in range(30):
        assert alarms.check(USUAL | {"entropy": 1.0 * 0.97**step}) == []
    assert alarms.check({}) == []


def test_runs_of_one_turn_cannot_repeat_a_plan() -> None:
    assert Alarms().check(USUAL | {"turns": 1.0, "repeated_plans": 1.0}) == []
