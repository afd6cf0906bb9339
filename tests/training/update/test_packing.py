"""Packing conserves tokens, order and terms, respects its budget and cuts where it costs least."""

from __future__ import annotations

import logging
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.errors import ConfigError, DataError
from tests.training.support.sample_rows import forests, row
from training.update.packing import MicroBatch, deal, pack, pad
from training.update.rows import Row, Terms


def path_to(batch: MicroBatch, index: int) -> list[int]:
    """Packed indices from the root to this token, read off the segments alone."""
    assert batch.segments is not None
    segment = int(np.searchsorted(batch.segments[:, 0], index, side="right")) - 1
    path: list[int] = []
    end = index + 1
    while segment >= 0:
        start, _, parent = (int(x) for x in batch.segments[segment])
        path = [*range(start, end), *path]
        segment = parent
        end = int(batch.segments[parent, :2].sum()) if parent >= 0 else 0
    return path


@given(forests(), st.integers(1, 40))
@settings(max_examples=300)
def test_every_term_once_on_the_path_of_its_row(rows: list[Row], budget: int) -> None:
    seen = []
    for batch in pack(rows, budget):
        assert (np.diff(batch.term_source) >= 0).all()
        ids = batch.input_ids[0]
        for term in range(len(batch.terms)):
            owner = rows[batch.term_row[term]]
            position = int(batch.terms.positions[term])
            predicting = int(batch.head_index[batch.term_source[term]])
            path = path_to(batch, predicting)
            assert ids[path].tolist() == owner.input_ids[:position].tolist()
            assert batch.position_ids[0, path].tolist() == list(range(position))
            assert batch.term_target[term] == owner.input_ids[position]
            original = owner.terms.positions.tolist().index(position)
            for name in ("weights", "advantages", "sampler_logprobs", "turns"):
                assert getattr(batch.terms, name)[term] == getattr(owner.terms, name)[original]
            seen.append((int(batch.term_row[term]), position))
    assert sorted(seen) == [(i, int(p)) for i, owner in enumerate(rows) for p in owner.terms.positions]


@given(forests(), st.integers(1, 40))
@settings(max_examples=200)
def test_a_micro_batch_is_a_trie_of_its_rows_within_the_budget(rows: list[Row], budget: int) -> None:
    batches = pack(rows, budget)
    assert sum(batch.raw_tokens for batch in batches) == sum(map(len, rows))
    for batch in batches:
        assert batch.segments is not None
        starts, lengths, parents = batch.segments.T
        assert (starts == np.concatenate([[0], np.cumsum(lengths)[:-1]])).all()
        assert (lengths > 0).all()
        assert (parents < np.arange(len(parents))).all()
        paths = [tuple(batch.input_ids[0, path_to(batch, token)]) for token in range(batch.tokens)]
        assert len(set(paths)) == len(paths), "a shared token is computed once"
        children = [parent for parent in parents.tolist() if parent >= 0]
        assert all(children.count(parent) > 1 for parent in children), "segments end only where rows fork"
        assert batch.tokens <= budget or batch.tokens in {len(owner) for owner in rows}


@given(forests(), st.integers(5, 30))
@settings(max_examples=100)
def test_cuts_compute_the_fewest_tokens_of_all_ways_to_cut(rows: list[Row], budget: int) -> None:
    ordered = sorted(owner.input_ids.tolist() for owner in rows[:6])
    if max(map(len, ordered)) > budget:
        return
    best = None
    for ends in product([False, True], repeat=len(ordered) - 1):
        parts, part = [], [ordered[0]]
        for cut, ids in zip(ends, ordered[1:], strict=True):
            if cut:
                parts.append(part)
                part = []
            part.append(ids)
        parts.append(part)
        sizes = [len({tuple(ids[: n + 1]) for ids in part for n in range(len(ids))}) for part in parts]
        if max(sizes) <= budget:
            best = min(best or (10**9, 0), (sum(sizes), len(sizes)))
    batches = pack(rows[:6], budget)
    assert (sum(batch.tokens for batch in batches), len(batches)) == best


def test_identical_completions_share_the_computation_and_keep_their_own_terms() -> None:
    (batch,) = pack([row([1, 2, 3, 4], [2, 3], advantage=1.0), row([1, 2, 3, 4], [2, 3], advantage=-1.0)], 100)
    assert batch.tokens == 4
    assert batch.head_index.tolist() == [1, 2]
    assert batch.term_source.tolist() == [0, 0, 1, 1]
    assert sorted(batch.terms.advantages.tolist()) == [-1.0, -1.0, 1.0, 1.0]


def test_a_fork_predicts_different_tokens_from_one_position() -> None:
    (batch,) = pack([row([5, 6, 7], [2]), row([5, 6, 8], [2])], 100)
    assert batch.tokens == 4
    assert batch.head_index.tolist() == [1]
    assert batch.term_target.tolist() == [7, 8]


def test_the_result_does_not_depend_on_the_order_of_rows() -> None:
    rows = [row([1, 2, 3]), row([1, 2, 4, 5]), row([9]), row([1, 2])]
    forward, backward = pack(rows, 5), pack(rows[::-1], 5)
    assert [batch.input_ids.tolist() for batch in forward] == [batch.input_ids.tolist() for batch in backward]
    assert [batch.term_target.tolist() for batch in forward] == [batch.term_target.tolist() for batch in backward]


def test_a_row_longer_than_the_budget_stays_whole_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        batches = pack([row(list(range(10))), row([0, 1, 2]), row([20, 21])], 4)
    assert sorted(batch.tokens for batch in batches) == [2, 10]
    assert "1 of 3 rows are longer than the budget of 4 tokens (longest 10)" in caplog.text


def test_padding_keeps_the_budget_and_every_term() -> None:
    rows = [row(list(range(length))) for length in (3, 9, 4, 8, 2)]
    batches = pad(rows, 20)
    assert [batch.input_ids.shape for batch in batches] == [(2, 9), (3, 4)]
    assert sum(len(batch.terms) for batch in batches) == sum(len(owner.terms) for owner in rows)
    for batch in batches:
        flat = batch.input_ids.reshape(-1)
        sources = batch.head_index[batch.term_source]
        assert (flat[sources + 1] == batch.term_target).all()
        assert batch.attention_mask is not None
        assert (batch.attention_mask.reshape(-1)[sources] == 1).all()


def test_dealing_evens_out_ranks_with_batches_that_carry_no_loss() -> None:
    batches = [pack([row(list(range(length)))], 100)[0] for length in (9, 5, 4)]
    hands = deal(batches, 2)
    assert [len(hand) for hand in hands] == [2, 2]
    dealt = [batch for hand in hands for batch in hand]
    assert sum(batch.terms.weights.sum() for batch in dealt) == sum(batch.terms.weights.sum() for batch in batches)
    assert sorted(batch.tokens for batch in dealt) == [4, 4, 5, 9]
    assert deal([], 3) == [[], [], []]


def test_roles_are_packed_apart_and_all_ranks_compute_one_role_at_a_time() -> None:
    rows = [Row([1, 2, 3, end], Terms.none(), role=role) for end, role in [(4, "b"), (5, "a"), (6, "b"), (7, "a")]]
    for lay in (pack, pad):
        assert [batch.role for batch in lay(rows, 100)] == ["a", "b"]
        assert sum(batch.raw_tokens for batch in lay(rows, 100)) == 16
    one, other = deal(pack(rows, 4), 2)
    assert [batch.role for batch in one] == [batch.role for batch in other] == ["a", "b"]
    one, other = deal(pack(rows, 100), 2)
    assert [(batch.role, batch.terms.weights.any()) for batch in other] == [("a", False), ("b", False)]
    assert [batch.role for batch in one] == ["a", "b"]


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        pack([row([1, 2])], 0)
    with pytest.raises(DataError, match=r"within 1\.\.1"):
        row([1, 2], [0])
    with pytest.raises(DataError, match="non-empty"):
        Row([], Terms.none())
    with pytest.raises(DataError, match="weights 2"):
        Terms([1], [1.0, 1.0], [1.0], [0.0], [0])
