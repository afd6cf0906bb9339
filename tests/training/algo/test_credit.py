"""Advantages and weights, against their definitions."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.errors import ConfigError, DataError
from training.algo.credit import (
    ESTIMATORS,
    GROUPINGS,
    REDUCTIONS,
    advantages,
    token_weights,
    tree_advantages,
    turn_advantages,
    varies,
)

rewards = st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0]), min_size=2, max_size=9)
acted = st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0]), st.lists(st.sampled_from("ab"), max_size=4)),
                 min_size=2, max_size=7)  # fmt: skip
step_lengths = st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=6)


@given(rewards)
def test_advantages_follow_their_definitions(earned: list[float]) -> None:
    mean = statistics.fmean(earned)
    centred = [reward - mean for reward in earned]
    others = [reward - statistics.fmean(earned[:i] + earned[i + 1 :]) for i, reward in enumerate(earned)]
    assert advantages(earned, "no_std") == pytest.approx(centred, abs=1e-12)
    assert advantages(earned, "rloo") == pytest.approx(others, abs=1e-12)
    if len(set(earned)) == 1:
        assert not advantages(earned, "grpo").any()
    else:
        spread = statistics.stdev(earned)
        assert advantages(earned, "grpo") == pytest.approx([value / spread for value in centred])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equal_rewards_teach_exactly_nothing(estimator: str) -> None:
    assert not advantages([0.1, 0.1, 0.1], estimator).any()  # whose mean is not exactly 0.1


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_rewards_equal_but_for_rounding_are_equal(estimator: str, scale: float) -> None:
    sums = [(0.1 + 0.2) * scale, 0.3 * scale, 0.3 * scale]
    assert len(set(sums)) == 2
    assert not varies(sums)
    assert not advantages(sums, estimator).any()
    apart = [0.3 * scale, 0.3 * scale, 0.300001 * scale]
    assert varies(apart)
    assert advantages(apart, estimator).any()


@pytest.mark.parametrize("bad", [[1.0], [], [1.0, float("nan")], [0.0, float("inf")]])
def test_what_cannot_be_compared_is_refused(bad: list[float]) -> None:
    with pytest.raises(DataError):
        advantages(bad)


@pytest.mark.parametrize("grouping", ["role", "rollout"])
@given(rewards, st.data())
def test_with_one_role_every_turn_gets_its_rollouts_advantage(
    grouping: str, earned: list[float], data: st.DataObject
) -> None:
    roles = [["planner"] * data.draw(st.integers(0, 3)) for _ in earned]
    for estimator in ESTIMATORS:
        expected = [
            [value] * len(own) for value, own in zip(advantages(earned, estimator).tolist(), roles, strict=True)
        ]
        assert turn_advantages(earned, roles, estimator, grouping) == expected  # to the last bit


@given(acted)
def test_a_role_is_compared_over_the_rollouts_in_which_it_acted(runs: list[tuple[float, list[str]]]) -> None:
    earned, roles = [reward for reward, _ in runs], [own for _, own in runs]
    values = turn_advantages(earned, roles)
    for role in "ab":
        members = [place for place, own in enumerate(roles) if role in own or not own]
        compared = advantages([earned[place] for place in members]) if len(members) > 1 else [0.0]
        worth = dict(zip(members, compared, strict=False))
        for place, own in enumerate(roles):
            assert [value for value, name in zip(values[place], own, strict=True) if name == role] == pytest.approx(
                [worth[place]] * own.count(role) if role in own else []
            )


def test_groups_of_at_grpo_are_of_one_role_and_turn() -> None:
    roles = [["a", "b", "a"], ["a", "b"], ["b", "a", "a"]]
    values = turn_advantages([0.0, 1.0, 2.0], roles, "no_std", "role_and_turn")
    assert values == [[-1.0, -1.0, -1.0], [0.0, 0.0], [1.0, 1.0, 1.0]]  # a's second turns: those of 0 and of 2
    assert turn_advantages([0.0, 1.0], [["a", "a"], ["a"]], "no_std", "role_and_turn") == [[-0.5, 0.0], [0.5]]


@given(step_lengths)
def test_weights_average_as_they_say(lengths: list[list[int]]) -> None:
    values = np.random.default_rng(0).normal(size=len(lengths))
    flow, token, fixed = (token_weights(lengths, name, max_tokens=7) for name in REDUCTIONS)

    def summed(weights: list[list[float]]) -> float:
        return sum(
            value * weight * tokens
            for value, turns, shares in zip(values, lengths, weights, strict=True)
            for tokens, weight in zip(turns, shares, strict=True)
        )

    per_rollout = [
        value * np.mean([tokens > 0 for tokens in turns]) if turns else 0.0
        for value, turns in zip(values, lengths, strict=True)
    ]
    assert summed(flow) == pytest.approx(np.mean(per_rollout))
    every = [value for value, turns in zip(values, lengths, strict=True) for _ in range(sum(turns))]
    assert summed(token) == pytest.approx(np.mean(every) if every else 0.0)
    assert summed(fixed) == pytest.approx(sum(every) / (7 * len(lengths)))


def test_unknown_names_are_told_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="grpo, no_std, rloo"):
        advantages([0.0, 1.0], "gae")
    with pytest.raises(ConfigError, match="flow, token_mean, constant"):
        token_weights([[1]], "mean")
    with pytest.raises(ConfigError, match=", ".join(GROUPINGS)):
        turn_advantages([0.0, 1.0], [["a"], ["a"]], grouping="team")


paths = st.lists(
    st.tuples(st.sampled_from([0.0, 0.3, 1.0]), st.lists(st.sampled_from("ab"), min_size=1, max_size=4)),
    min_size=2,
    max_size=7,
)


def as_tree(actions: list[str]) -> list[tuple[str, str]]:
    """Turns whose state is all that was done before."""
    return [("".join(actions[:place]), action) for place, action in enumerate(actions)]


@given(paths)
def test_in_a_rollout_tree_a_turn_is_worth_the_mean_of_those_that_did_the_same(
    made: list[tuple[float, list[str]]],
) -> None:
    earned = [reward for reward, _ in made]
    runs = [as_tree(actions) for _, actions in made]
    mean = statistics.fmean(earned)
    values = tree_advantages(earned, runs, "no_std")
    for own, run in zip(values, runs, strict=True):
        for value, turn in zip(own, run, strict=True):
            alike = [reward for reward, other in zip(earned, runs, strict=True) if turn in other]
            there = [reward for reward, other in zip(earned, runs, strict=True) if turn[0] in dict(other)]
            state = (sum(there) + mean) / (len(there) + 1)
            assert value == pytest.approx(statistics.fmean(alike) - state, abs=1e-9)


def test_a_rollout_tree_tells_the_turn_that_made_the_difference() -> None:
    runs = [as_tree(["look", "add"]), as_tree(["look", "end"]), as_tree(["look", "add"]), as_tree(["guess"])]
    (look, add), (_, end), _, (guess,) = tree_advantages([1.0, 0.0, 1.0, 0.0], runs, "no_std")
    assert look == pytest.approx(2 / 3 - 1 / 2)  # what two of three made of it, against the first state's value
    assert add == pytest.approx(1 - (2 + 0.5) / 4)
    assert end == pytest.approx(0 - (2 + 0.5) / 4)
    assert guess == pytest.approx(-0.5)
    alone = tree_advantages([1.0, 0.0], [as_tree(["x", "y"]), as_tree(["z"])], "no_std")
    assert alone == [[0.5, 0.25], [-0.5]]  # nobody else was where "y" was done: half of what broadcasting gives


def test_a_rollout_tree_refuses_what_it_does_not_define() -> None:
    with pytest.raises(ConfigError, match="choose grpo or no_std"):
        tree_advantages([0.0, 1.0], [[], []], "rloo")
    assert tree_advantages([0.1, 0.1, 0.1], [as_tree(["a"])] * 3) == [[0.0]] * 3
