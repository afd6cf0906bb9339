"""Groups of rollouts become rows: the turns of a run end to end, each sampled token with its loss term.

The planner's prompts are append-only, so a run is usually one row: its last prompt and reply hold all the earlier ones.
A turn that does not extend an earlier one of its role (a cleared context, another role) opens a row of its own; what
two rows of a role share is computed once by the packing all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from graph.errors import DataError
from training.algo.credit import BROADCAST, ROLLOUT_TREE, token_weights, tree_advantages, turn_advantages, varies
from training.rollouts.records import Group, PlannerTurn, Rollout
from training.update.rows import Row, Terms


@dataclass(frozen=True)
class Assembled:
    """The rows of a step, and the numbers of what was left out."""

    rows: list[Row]
    rollouts: int
    """N of the loss: the finished rollouts of all groups with at least two."""
    zero_variance: int
    """Groups with equal rewards."""
    skipped: int
    """Groups with fewer than two finished rollouts."""
    advantages: dict[str, list[float]] = field(default_factory=dict)
    """Of each turn, by the rollout's id."""


def assemble(
    groups: Sequence[Group],
    *,
    temperature: float,
    estimator: str = "grpo",
    grouping: str = "role",
    credit: str = BROADCAST,
    reduction: str = "flow",
    max_tokens: int = 1,
    keep_zero_variance: bool = True,
) -> Assembled:
    """Rows with loss terms for one step.

    Args:
        groups: of the step.
        temperature: of sampling and update.
        estimator, grouping: see `credit.turn_advantages`.
        credit: a key of `credit.CREDITS`; a rollout tree has no use for `grouping`.
        reduction: see `credit.token_weights`.
        max_tokens: largest number of tokens in a turn, for the reduction `constant`.
        keep_zero_variance: whether to make rows of groups without variance: they have no policy gradient, but a KL
            term. They count in N either way.

    Raises:
        ConfigError: unknown estimator, grouping or reduction.
        DataError: a turn was sampled at another temperature, a rollout was tokenised from text, or a reward is not
            finite.
    """
    compared = [group for group in groups if len(group.rollouts) > 1]
    rollouts = [rollout for group in compared for rollout in group.rollouts]
    for rollout in rollouts:
        _check(rollout, temperature)
    weights = _weights(rollouts, reduction, max_tokens)
    rows: list[Row] = []
    worth: dict[str, list[float]] = {}
    equal = 0
    for group in compared:
        teaches = varies(group.rewards)
        equal += not teaches
        values = turn_worths(group, estimator, grouping, credit)
        for rollout, of_turns in zip(group.rollouts, values, strict=True):
            worth[rollout.id] = of_turns
            if teaches or keep_zero_variance:
                rows += rows_of(rollout, weights[rollout.id], of_turns)
    return Assembled(rows, len(rollouts), equal, len(groups) - len(compared), worth)


def turn_worths(group: Group, estimator: str, grouping: str, credit: str) -> list[list[float]]:
    """The advantage of each turn of each rollout of a group; see `assemble`."""
    if credit == ROLLOUT_TREE:  # a state is the prompt to the letter, which the planner's transcripts share
        paths = [
            [((turn.role, turn.prompt_ids), turn.completion_ids) for turn in rollout.turns]
            for rollout in group.rollouts
        ]
        return tree_advantages(group.rewards, paths, estimator)
    roles = [[turn.role for turn in rollout.turns] for rollout in group.rollouts]
    return turn_advantages(group.rewards, roles, estimator, grouping)


def _weights(rollouts: Sequence[Rollout], reduction: str, max_tokens: int) -> dict[str, list[float]]:
    """What each token of each turn weighs among the turns of its role, by the rollout's id."""
    weights = {rollout.id: [0.0] * len(rollout.turns) for rollout in rollouts}
    for role in {turn.role: None for rollout in rollouts for turn in rollout.turns}:
        places = [[place for place, turn in enumerate(rollout.turns) if turn.role == role] for rollout in rollouts]
        lengths = [
            [len(rollout.turns[place].completion_ids) for place in own]
            for rollout, own in zip(rollouts, places, strict=True)
        ]
        shares = token_weights(lengths, reduction, max_tokens)
        for rollout, own, share in zip(rollouts, places, shares, strict=True):
            for place, weight in zip(own, share, strict=True):
                weights[rollout.id][place] = weight
    return weights


def _check(rollout: Rollout, temperature: float) -> None:
    if not rollout.captured:
        raise DataError(
            f"Rollout {rollout.id} was tokenised from text and does not hold the sampled tokens; it can only be "
            "inspected, or used by `training.sft`."
        )
    for turn in rollout.turns:
        if turn.temperature != temperature:
            raise DataError(
                f"Rollout {rollout.id} was sampled at temperature {turn.temperature:g}, but `temperature` is "
                f"{temperature:g}; their log-probabilities cannot be compared."
            )


def rows_of(rollout: Rollout, weights: Sequence[float], advantages: Sequence[float]) -> list[Row]:
    """One row for each chain of a rollout's turns that extend one another; a chain is of one role.

    Args:
        rollout: with its turns.
        weights: w of each turn's tokens.
        advantages: of each turn.
    """
    chains: list[list[int]] = []
    for number, turn in enumerate(rollout.turns):
        extended = [chain for chain in chains if _extends(turn, rollout.turns[chain[-1]])]
        if extended:
            max(extended, key=lambda chain: len(rollout.turns[chain[-1]].prompt_ids)).append(number)
        else:
            chains.append([number])
    return [_row(rollout, chain, weights, advantages) for chain in chains]


def _extends(turn: PlannerTurn, earlier: PlannerTurn) -> bool:
    start, end = len(earlier.prompt_ids), len(earlier.prompt_ids) + len(earlier.completion_ids)
    return (
        turn.role == earlier.role
        and turn.prompt_ids[:start] == earlier.prompt_ids
        and turn.prompt_ids[start:end] == earlier.completion_ids
    )


def _row(rollout: Rollout, chain: Sequence[int], weights: Sequence[float], advantages: Sequence[float]) -> Row:
    turns = [rollout.turns[number] for number in chain]
    lengths = [len(turn.completion_ids) for turn in turns]
    spans = [np.arange(n) + len(turn.prompt_ids) for turn, n in zip(turns, lengths, strict=True)]
    terms = Terms(
        positions=np.concatenate(spans),
        weights=np.repeat([weights[number] for number in chain], lengths),
        advantages=np.repeat([advantages[number] for number in chain], lengths),
        sampler_logprobs=np.concatenate([np.array(turn.logprobs) for turn in turns]),
        turns=np.repeat(chain, lengths),
    )
    last = turns[-1]
    ids = np.array(last.prompt_ids + last.completion_ids)
    return Row(ids, terms, group=rollout.task.id, rollout=rollout.index, role=last.role)
