"""Rollouts become rows without a token lost, doubled or stamped wrongly."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from graph.errors import DataError
from tests.training.support.sample_rollouts import groups, rollout, task
from training.algo.credit import advantages
from training.rollouts.records import Group
from training.update.assemble import assemble
from training.update.rows import Row


@given(groups())
def test_every_sampled_token_is_one_term_with_its_own_stamp(step: list[Group]) -> None:
    made = assemble(step, temperature=1.0)
    compared = [group for group in step if len(group.rollouts) > 1]
    assert (made.skipped, made.rollouts) == (len(step) - len(compared), sum(len(g.rollouts) for g in compared))
    expected: Counter[tuple[object, ...]] = Counter()
    for group in compared:
        for member, advantage in zip(group.rollouts, advantages(group.rewards), strict=True):
            for number, turn in enumerate(member.turns):
                count = len(turn.completion_ids)
                for place, token in enumerate(turn.completion_ids):
                    context = turn.prompt_ids + turn.completion_ids[:place]
                    weight = 1 / (made.rollouts * len(member.turns) * count)
                    key = (group.task.id, member.index, number, context, token, turn.logprobs[place])
                    expected[(*key, round(weight, 9), round(advantage, 9))] += 1
    found: Counter[tuple[object, ...]] = Counter()
    for row in made.rows:
        ids, terms = row.input_ids.tolist(), row.terms
        for i, at in enumerate(terms.positions.tolist()):
            key = (
                row.group,
                row.rollout,
                int(terms.turns[i]),
                tuple(ids[:at]),
                ids[at],
                float(terms.sampler_logprobs[i]),
            )
            found[(*key, round(float(terms.weights[i]), 9), round(float(terms.advantages[i]), 9))] += 1
    assert found == expected


@given(groups(roles=("planner", "solver")))
def test_a_roles_tokens_weigh_as_if_it_were_alone(step: list[Group]) -> None:
    made = assemble(step, temperature=1.0)
    for role in ("planner", "solver"):
        alone = [
            Group(
                group.task,
                tuple(
                    replace(member, turns=tuple(turn for turn in member.turns if turn.role == role))
                    for member in group.rollouts
                ),
            )
            for group in step
        ]
        own = assemble(alone, temperature=1.0)
        assert own.rollouts == made.rollouts
        assert stamps(own.rows, role) == stamps([row for row in made.rows if row.role == role], role)


def stamps(rows: list[Row], role: str) -> Counter[tuple[object, ...]]:
    return Counter(
        (row.group, row.rollout, row.role == role, tuple(row.input_ids[:at].tolist()), weight, logprob)
        for row in rows
        for at, weight, logprob in zip(
            row.terms.positions.tolist(), row.terms.weights.tolist(), row.terms.sampler_logprobs.tolist(), strict=True
        )
    )


def test_a_turn_extends_no_turn_of_another_role() -> None:
    turns = [([1, 2], [3]), ([1, 2, 3, 4], [5]), ([1, 2, 3, 4, 5, 6], [7])]
    whole = rollout(turns, index=0, roles=["planner", "solver", "planner"])
    rows = assemble([Group(task(), (whole, rollout([], 0.0, index=1)))], temperature=1.0).rows
    assert [(row.role, row.input_ids.tolist()) for row in rows] == [
        ("planner", [1, 2, 3, 4, 5, 6, 7]),
        ("solver", [1, 2, 3, 4, 5]),
    ]
    assert rows[0].terms.turns.tolist() == [0, 2]
    assert np.concatenate([row.terms.weights for row in rows]) == pytest.approx([1 / 4, 1 / 4, 1 / 2])


def test_turns_that_extend_each_other_are_one_row_and_others_fork() -> None:
    whole = rollout([([1, 2], [3]), ([1, 2, 3, 4], [5, 6]), ([1, 2, 3, 4, 5, 6, 7], [])], index=0)
    forked = rollout([([1, 2], [3]), ([1, 9], [5])], 0.0, index=1)
    rows = assemble([Group(task(), (whole, forked))], temperature=1.0).rows
    assert [row.input_ids.tolist() for row in rows] == [[1, 2, 3, 4, 5, 6, 7], [1, 2, 3], [1, 9, 5]]
    assert rows[0].terms.positions.tolist() == [2, 4, 5]
    assert rows[0].terms.turns.tolist() == [0, 1, 1]
    assert rows[0].terms.weights == pytest.approx([1 / 6, 1 / 12, 1 / 12])


def test_two_interleaved_transcripts_of_one_run_are_two_rows() -> None:
    turns = [([1], [2]), ([8], [9]), ([1, 2, 3], [4]), ([8, 9, 3], [5])]
    step = [Group(task(), (rollout(turns, index=0), rollout([], 0.0, index=1)))]
    rows = assemble(step, temperature=1.0).rows
    assert [row.input_ids.tolist() for row in rows] == [[1, 2, 3, 4], [8, 9, 3, 5]]


def test_groups_without_variance_count_and_may_be_left_out() -> None:
    equal = [0.3, 0.1 + 0.2]  # but for rounding
    same = Group(task("a"), tuple(rollout([([1], [2])], equal[index], "a", index) for index in range(2)))
    other = Group(task("b"), tuple(rollout([([1], [2])], index / 1, "b", index) for index in range(2)))
    kept = assemble([same, other], temperature=1.0)
    dropped = assemble([same, other], temperature=1.0, keep_zero_variance=False)
    assert (kept.zero_variance, kept.rollouts, len(kept.rows)) == (1, 4, 4)
    assert (dropped.zero_variance, dropped.rollouts, len(dropped.rows)) == (1, 4, 2)
    assert np.concatenate([row.terms.weights for row in dropped.rows]) == pytest.approx([1 / 4] * 2)


def test_rollouts_of_another_distribution_are_refused() -> None:
    pair = tuple(rollout([([1], [2])], index / 1, index=index) for index in range(2))
    with pytest.raises(DataError, match="sampled at temperature 1, but `temperature` is"):
        assemble([Group(task(), pair)], temperature=0.7)
    retokenised = tuple(replace(member, captured=False) for member in pair)
    with pytest.raises(DataError, match=r"training\.sft"):
        assemble([Group(task(), retokenised)], temperature=1.0)
