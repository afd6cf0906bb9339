"""Credit: the advantage of each rollout in its group, and the weight of each token in the loss.

The reward of a run is one number, known at its end. Every turn of the run gets it (AgentFlow, arXiv 2510.05592,
section 3.2), compared with the other runs of the same question; where several roles are trained, with those runs in
which the turn's role acted. Finer credit compares what the runs did from one and the same state on. A token's share of
the loss then depends on how the objective averages. All are pure functions of plain numbers, and all are settled before
rows are packed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from graph.errors import ConfigError, DataError

FloatArray = NDArray[np.float64]

Rule = TypeVar("Rule")

Lengths = Sequence[Sequence[int]]
"""Sampled tokens of each turn of each rollout of a step."""

Roles = Sequence[Sequence[str]]
"""The role of each turn of each rollout of a group."""


def varies(rewards: Sequence[float] | FloatArray) -> bool:
    """Whether rewards differ by more than the rounding of their sums; if not, their group teaches nothing."""
    values = np.asarray(rewards, dtype=np.float64)
    return bool(values.size and np.ptp(values) > _ROUNDING * np.abs(values).max())


_ROUNDING = 1e-9
"""Difference of two rewards, as a share of the larger, that is taken for none."""


def normalised(rewards: FloatArray) -> FloatArray:
    """(R_i - mean R) / std R with the sample standard deviation: GRPO, and equation 6 of AgentFlow.

    Zeros for a group with equal rewards, which teaches nothing.
    """
    if not varies(rewards):
        return np.zeros_like(rewards)
    return (rewards - rewards.mean()) / rewards.std(ddof=1)  # type: ignore[no-any-return]


def centred(rewards: FloatArray) -> FloatArray:
    """R_i - mean R: Dr.GRPO (arXiv 2503.20783), without the division that favours very easy and very hard questions."""
    return rewards - rewards.mean() if varies(rewards) else np.zeros_like(rewards)


def leave_one_out(rewards: FloatArray) -> FloatArray:
    """R_i minus the mean of the others: RLOO (arXiv 2402.14740)."""
    return centred(rewards) * len(rewards) / (len(rewards) - 1)


ESTIMATORS: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "grpo": normalised,
    "no_std": centred,
    "rloo": leave_one_out,
}


def advantages(rewards: Sequence[float], estimator: str = "grpo") -> FloatArray:
    """The advantage of each rollout of one group.

    Args:
        rewards: of the G rollouts of one task, G at least 2.
        estimator: a key of `ESTIMATORS`.

    Returns:
        G advantages, which sum to 0.

    Raises:
        ConfigError: an unknown estimator.
        DataError: fewer than two rewards, or one that is not finite.
    """
    values = np.asarray(rewards, dtype=np.float64)
    if len(values) < 2:
        raise DataError(f"A group of {len(values)} rollouts has no advantage; it needs at least two.")
    if not np.isfinite(values).all():
        raise DataError(f"A reward must be a finite number, got {list(rewards)}.")
    return _chosen(ESTIMATORS, estimator, "estimator")(values)


def by_rollout(roles: Roles) -> list[list[Hashable]]:
    """All turns of all runs are compared: GRPO (AgentFlow, equation 6), whichever role took the turn."""
    return [[None for _ in turns] for turns in roles]


def by_role(roles: Roles) -> list[list[Hashable]]:
    """The turns of one role are compared, each run counting once: Dr. MAS (arXiv 2602.08847).

    A run in which a role had nothing to do says nothing about that role.
    """
    return [list(turns) for turns in roles]


def by_role_and_turn(roles: Roles) -> list[list[Hashable]]:
    """The n-th turns of one role are compared: the groups of AT-GRPO (arXiv 2510.11062).

    There the candidates of a group are sampled from one and the same prompt, and one of them goes on. Here they are the
    turns of whole runs, whose prompts differ once the runs have parted.
    """
    return [[(role, turns[:place].count(role)) for place, role in enumerate(turns)] for turns in map(list, roles)]


GROUPINGS: Mapping[str, Callable[[Roles], list[list[Hashable]]]] = {
    "role": by_role,
    "rollout": by_rollout,
    "role_and_turn": by_role_and_turn,
}


def turn_advantages(
    rewards: Sequence[float], roles: Roles, estimator: str = "grpo", grouping: str = "role"
) -> list[list[float]]:
    """The advantage of each turn of each rollout of one group.

    A run in which no role acted earned its reward all the same; it is compared with every group of turns.

    Args:
        rewards: of the G rollouts of one task, G at least 2.
        roles: of their turns. Where all turns are one role's, the turns of a rollout get its `advantages`.
        estimator: a key of `ESTIMATORS`.
        grouping: a key of `GROUPINGS`: which turns are compared with one another.

    Returns:
        One advantage by rollout and turn; 0 for a turn that has nothing to be compared with.

    Raises:
        ConfigError: an unknown estimator or grouping.
        DataError: fewer than two rewards, or one that is not finite.
    """
    overall = advantages(rewards, estimator)
    keys = _chosen(GROUPINGS, grouping, "grouping")(roles)
    values: list[dict[Hashable, float]] = [{} for _ in rewards]
    for key in {key: None for turns in keys for key in turns}:
        members = [place for place, turns in enumerate(keys) if key in turns or not turns]
        compared = (
            overall
            if len(members) == len(rewards)
            else advantages([rewards[place] for place in members], estimator)
            if len(members) > 1
            else np.zeros(1)
        )
        for place, value in zip(members, compared.tolist(), strict=True):
            values[place][key] = value
    return [[values[place][key] for key in turns] for place, turns in enumerate(keys)]


BROADCAST, ROLLOUT_TREE = "broadcast", "rollout_tree"
CREDITS = (BROADCAST, ROLLOUT_TREE)
"""`broadcast`: every turn gets the run's outcome (`turn_advantages`); `rollout_tree`: `tree_advantages`."""

Path = Sequence[tuple[Hashable, Hashable]]
"""The turns of a rollout: the state that each was taken in, and what it did."""


def tree_advantages(
    rewards: Sequence[float], paths: Sequence[Path], estimator: str = "grpo", prior: float = 1.0
) -> list[list[float]]:
    """What each turn of each rollout of one group was worth, by the rollouts that came through the same state.

    RTMC (arXiv 2604.11037): the rollouts of a task are a tree, the value of doing something in a state is the mean
    reward of those that did it there (first visits), and the state's value that of all that were there, smoothed
    towards the group's. A turn in the first state gets what broadcasting gives it, averaged over those that did the
    same; one in a state that no other rollout saw gets a share of its broadcast advantage (half, with the default).

    Args:
        rewards: of the G rollouts of one task, G at least 2.
        paths: their turns.
        estimator: `grpo` divides by the standard deviation of the rewards, `no_std` does not.
        prior: how many visits with the group's mean reward are added to a state's own.

    Returns:
        One advantage by rollout and turn.

    Raises:
        ConfigError: another estimator.
        DataError: fewer than two rewards, or one that is not finite.
    """
    if estimator not in ("grpo", "no_std"):
        raise ConfigError(f"credit: {ROLLOUT_TREE} has no estimator {estimator!r}; choose grpo or no_std.")
    relative = advantages(rewards, estimator)  # with mean 0, which is the prior
    in_state: dict[Hashable, dict[int, None]] = {}
    acted: dict[tuple[Hashable, Hashable], dict[int, None]] = {}
    for rollout, path in enumerate(paths):
        for state, action in path:
            in_state.setdefault(state, {})[rollout] = None
            acted.setdefault((state, action), {})[rollout] = None
    value = {state: relative[list(visits)].sum() / (len(visits) + prior) for state, visits in in_state.items()}
    worth = {turn: float(relative[list(visits)].mean() - value[turn[0]]) for turn, visits in acted.items()}
    return [[worth[turn] for turn in path] for path in paths]


def mean_over_rollouts(lengths: Lengths, max_tokens: int) -> list[list[float]]:
    """1 / (N * T_i * |a_i,t|): the mean over tokens, then turns, then rollouts (AgentFlow, equation 5)."""
    rollouts = len(lengths)
    return [[1 / (rollouts * len(turns) * tokens) if tokens else 0.0 for tokens in turns] for turns in lengths]


def mean_over_tokens(lengths: Lengths, max_tokens: int) -> list[list[float]]:
    """1 / all tokens of the step: DAPO (arXiv 2503.14476, equation 8); long turns weigh more."""
    total = max(1, sum(sum(turns) for turns in lengths))
    return [[1 / total if tokens else 0.0 for tokens in turns] for turns in lengths]


def constant(lengths: Lengths, max_tokens: int) -> list[list[float]]:
    """1 / (N * max_tokens): Dr.GRPO (arXiv 2503.20783), without length bias."""
    return [[1 / (len(lengths) * max_tokens) if tokens else 0.0 for tokens in turns] for turns in lengths]


REDUCTIONS: Mapping[str, Callable[[Lengths, int], list[list[float]]]] = {
    "flow": mean_over_rollouts,
    "token_mean": mean_over_tokens,
    "constant": constant,
}


def token_weights(lengths: Lengths, reduction: str = "flow", max_tokens: int = 1) -> list[list[float]]:
    """The weight of each token of each turn in the loss of a step.

    Args:
        lengths: sampled tokens by rollout and turn, of all N finished rollouts of the step: those of groups without
            variance included, or the loss would grow as the policy gets better. Where several roles are trained, of
            one role's turns.
        reduction: a key of `REDUCTIONS`.
        max_tokens: largest number of tokens in a turn; used only by `constant`.

    Returns:
        One weight per rollout and turn, the same for every token of the turn.

    Raises:
        ConfigError: an unknown reduction.
    """
    return _chosen(REDUCTIONS, reduction, "reduction")(lengths, max_tokens)


def _chosen(rules: Mapping[str, Rule], name: str, what: str) -> Rule:
    if name not in rules:
        raise ConfigError(f"There is no {what} {name!r}; choose one of {', '.join(rules)}.")
    return rules[name]
