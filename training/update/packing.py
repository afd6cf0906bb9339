"""Rows become micro-batches: packed by prefix tree, or padded. A micro-batch is of one role's rows.

Roles may be played by adapters of their own, and a hidden state that two adapters computed is not the same one; two
adapters in one backward pass would also fail under gradient checkpointing, whose second forward pass uses the adapter
that is active by then.

Packing. Rows that begin alike form a tree: a token that several rows share stands there once, and its position is its
depth. All rows of a step together are a forest. Sorting rows by their tokens puts that forest in depth-first order
without building it: each row then adds only what follows its longest common prefix with the row before it, and a
micro-batch is simply those additions, laid end to end. It follows that

- a row's path is a strictly increasing sequence of packed indices;
- the descendants of a token are one contiguous range right behind it, which is what makes attention cheap
  (`training.update.attention`);
- cutting the sorted rows anywhere yields two smaller forests; the price of a cut is the prefix shared across it,
  which is then computed in both.

Every term of every row is in exactly one micro-batch. A term names the hidden state that predicts its token, which is
the parent's: the last token of the parent segment when the token is its segment's first. One hidden state may serve
different next tokens (a fork) and several terms with the same one (identical completions).

Padding is the plain alternative with the same outcome: rows side by side, nothing shared. It is the oracle of the
tests, and the path for models that `training.update.packable` refuses.

Only numpy here: batches are made in data loader workers and read by anything.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from graph.errors import ConfigError
from training.engines.memories import common_prefix
from training.update.rows import IntArray, Row, Terms

logger = logging.getLogger(__name__)

NO_PARENT = -1


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """What one forward pass computes: T tokens in each of B lines, U predicting positions, M loss terms.

    A packed batch has B = 1, `segments` and no mask; a padded one has an `attention_mask` and no segments.
    """

    input_ids: IntArray
    """Token ids, (B, T); padding is 0."""
    position_ids: IntArray
    """Position of each token in its rows, (B, T)."""
    segments: IntArray | None
    """Packed only, (S, 3): start, length and parent segment (-1 for a root) of each maximal run of tokens without a
    fork, in depth-first order."""
    attention_mask: IntArray | None
    """Padded only, (B, T): 1 for a token, 0 for padding."""
    head_index: IntArray
    """Indices into the flattened (B * T) hidden states that predict a trained token, increasing, (U,)."""
    term_source: IntArray
    """Index into `head_index` of each term's predicting position, never decreasing, (M,)."""
    term_target: IntArray
    """The trained token's id, (M,)."""
    term_row: IntArray
    """Index of the term's row in the rows that were packed, (M,)."""
    terms: Terms
    """The stamps of the M terms."""
    raw_tokens: int
    """Tokens of the batch's rows, each counted as often as it occurs."""
    role: str = ""
    """Whose rows they are."""

    @property
    def tokens(self) -> int:
        """Positions that the model computes, padding included."""
        return int(self.input_ids.size)

    def without_loss(self) -> MicroBatch:
        """The same computation with every weight zero: what a rank runs that has no batch left."""
        return replace(self, terms=replace(self.terms, weights=np.zeros(len(self.terms))))


def pack(rows: Sequence[Row], budget: int) -> list[MicroBatch]:
    """Packs rows by prefix tree into micro-batches of at most `budget` unique tokens.

    The cuts between micro-batches are those that compute the fewest tokens in all, and among these the fewest
    micro-batches; groups stay whole where they fit and split by subtrees where they do not. A row that is longer than
    the budget is not cut: it gets a micro-batch of its own (shared only with its own prefixes), and a warning says so.
    The result does not depend on the order of the rows, but for the order among identical ones.

    Args:
        rows: the rows of a step, in any order.
        budget: unique tokens per micro-batch, at least 1.

    Raises:
        ConfigError: the budget is less than 1.
    """
    _check_budget(rows, budget)
    batches = []
    for members in _by_role(rows):
        order = sorted(members, key=lambda i: rows[i].input_ids.astype(">u4").tobytes())
        shared = [0, *(common_prefix(rows[a].input_ids, rows[b].input_ids) for a, b in pairwise(order))]
        for first, end in _cuts([len(rows[i]) for i in order], shared, budget):
            batches.append(_forest(rows, order[first:end], [0, *shared[first + 1 : end]]))
    return batches


def pad(rows: Sequence[Row], budget: int) -> list[MicroBatch]:
    """Lays rows side by side into micro-batches of at most `budget` tokens, padding on the right included.

    Rows of similar length go together. A row longer than the budget gets a micro-batch of its own, with a warning.

    Raises:
        ConfigError: the budget is less than 1.
    """
    _check_budget(rows, budget)
    batches = []
    for members in _by_role(rows):
        order = sorted(members, key=lambda i: -len(rows[i]))
        first = 0
        while first < len(order):
            end = first + max(1, budget // len(rows[order[first]]))
            batches.append(_side_by_side(rows, order[first:end]))
            first = end
    return batches


def deal(batches: Sequence[MicroBatch], ranks: int) -> list[list[MicroBatch]]:
    """Deals micro-batches to `ranks` processes: equally many to each, with token counts as even as greedy gets them.

    Where the number does not divide, the smallest batch fills up without loss, so that every rank takes part in the
    same number of collective operations. Roles are dealt one after the other, so that all ranks compute the same one at
    a time. Every rank that deals the same batches gets the same hands.
    """
    hands: list[list[MicroBatch]] = [[] for _ in range(ranks)]
    for role in dict.fromkeys(batch.role for batch in batches):
        for hand, more in zip(hands, _dealt([batch for batch in batches if batch.role == role], ranks), strict=True):
            hand += more
    return hands


def _dealt(batches: Sequence[MicroBatch], ranks: int) -> list[list[MicroBatch]]:
    rounds = -(-len(batches) // ranks)
    hands: list[list[MicroBatch]] = [[] for _ in range(ranks)]
    for batch in sorted(batches, key=lambda batch: -batch.tokens):
        open_hands = [hand for hand in hands if len(hand) < rounds]
        min(open_hands, key=lambda hand: sum(held.tokens for held in hand)).append(batch)
    blank = min(batches, key=lambda batch: batch.tokens).without_loss()
    return [hand + [blank] * (rounds - len(hand)) for hand in hands]


def _by_role(rows: Sequence[Row]) -> list[list[int]]:
    """The places of each role's rows."""
    return [
        [place for place, row in enumerate(rows) if row.role == role] for role in sorted({row.role for row in rows})
    ]


def places_of_terms(old: Sequence[MicroBatch], new: Sequence[MicroBatch]) -> list[IntArray]:
    """Where the terms of micro-batches stand among those of others that were made of the same rows.

    Returns:
        For each new micro-batch the places (M,) of its terms in all old ones, end to end.
    """
    known = np.concatenate([np.empty(0, np.int64), *map(_keys, old)])
    order = np.argsort(known)
    return [order[np.searchsorted(known, _keys(batch), sorter=order)] for batch in new]


def _keys(batch: MicroBatch) -> IntArray:
    """A number for each term, by its row and position."""
    return (batch.term_row << 32) + batch.terms.positions


def _check_budget(rows: Sequence[Row], budget: int) -> None:
    if budget < 1:
        raise ConfigError(f"The token budget of a micro-batch must be at least 1, got {budget}.")
    long = [len(row) for row in rows if len(row) > budget]
    if long:
        logger.warning(
            "%d of %d rows are longer than the budget of %d tokens (longest %d); each is a micro-batch of its own",
            len(long), len(rows), budget, max(long),
        )  # fmt: skip


def _cuts(lengths: Sequence[int], shared: Sequence[int], budget: int) -> list[tuple[int, int]]:
    """Ranges [first, end) of sorted rows with the least sum of unique tokens, then the fewest ranges."""
    best: list[tuple[int, int]] = [(0, 0)]  # best[e]: (tokens, ranges) of the first e rows
    cut_at = [0]
    for end in range(1, len(lengths) + 1):
        choices = []
        tokens = 0  # unique tokens of rows first..end-1
        for first in range(end - 1, -1, -1):
            # One more row in front: it brings its whole length, and its successor now shares a prefix with it.
            tokens += lengths[first] - (shared[first + 1] if first + 1 < end else 0)
            if tokens > max(budget, lengths[end - 1]):
                break
            choices.append(((best[first][0] + tokens, best[first][1] + 1), first))
        score, first = min(choices)
        best.append(score)
        cut_at.append(first)
    ranges, end = [], len(lengths)
    while end:
        ranges.append((cut_at[end], end))
        end = cut_at[end]
    return ranges[::-1]


def _forest(rows: Sequence[Row], members: Sequence[int], shared: Sequence[int]) -> MicroBatch:
    """Packs sorted rows; `shared[k]` is the common prefix of row k with row k - 1, and 0 for the first."""
    parent_token: dict[int, int] = {}  # packed index that starts a segment -> packed index of its parent token
    paths: list[IntArray] = []
    size = 0
    for k, (member, prefix) in enumerate(zip(members, shared, strict=True)):
        own = len(rows[member]) - prefix
        fork = int(paths[-1][prefix - 1]) if prefix else NO_PARENT
        # A row that merely continues its predecessor opens no segment: it is the same run of tokens.
        if own and (not prefix or fork + 1 < size):
            parent_token[size] = fork
            if prefix:
                parent_token.setdefault(fork + 1, fork)
        inherited = paths[-1][:prefix] if k else np.empty(0, np.int64)
        paths.append(np.concatenate([inherited, np.arange(size, size + own)]))
        size += own
    starts = np.array(sorted(parent_token), dtype=np.int64)
    parents = np.array([parent_token[int(start)] for start in starts], dtype=np.int64)
    segment_of_parent = np.where(parents < 0, NO_PARENT, np.searchsorted(starts, parents, side="right") - 1)
    lengths = np.diff(np.append(starts, size))
    input_ids, position_ids = np.empty((2, 1, size), dtype=np.int64)
    for member, path in zip(members, paths, strict=True):
        input_ids[0, path] = rows[member].input_ids
        position_ids[0, path] = np.arange(len(path))
    return _with_terms(rows, members, paths, input_ids, position_ids, np.stack([starts, lengths, segment_of_parent], 1))


def _side_by_side(rows: Sequence[Row], members: Sequence[int]) -> MicroBatch:
    width = max(len(rows[member]) for member in members)
    input_ids, attention_mask = np.zeros((2, len(members), width), dtype=np.int64)
    for line, member in enumerate(members):
        input_ids[line, : len(rows[member])] = rows[member].input_ids
        attention_mask[line, : len(rows[member])] = 1
    position_ids = np.tile(np.arange(width), (len(members), 1))
    paths = [line * width + np.arange(len(rows[member])) for line, member in enumerate(members)]
    return _with_terms(rows, members, paths, input_ids, position_ids, None, attention_mask)


def _with_terms(
    rows: Sequence[Row],
    members: Sequence[int],
    paths: Sequence[IntArray],
    input_ids: IntArray,
    position_ids: IntArray,
    segments: IntArray | None,
    attention_mask: IntArray | None = None,
) -> MicroBatch:
    """Adds the terms of the rows, whose tokens stand at `paths` in the flattened batch."""
    scored = [(rows[member], path, member) for member, path in zip(members, paths, strict=True)]
    empty = np.empty(0, np.int64)
    predicting = np.concatenate([empty, *(path[row.terms.positions - 1] for row, path, _ in scored)])
    targets = np.concatenate([empty, *(row.input_ids[row.terms.positions] for row, _, _ in scored)])
    owners = np.repeat(np.array(members, dtype=np.int64), [len(row.terms) for row, _, _ in scored])
    head_index, source = np.unique(predicting, return_inverse=True)
    order = np.argsort(source, kind="stable")
    return MicroBatch(
        input_ids=input_ids,
        position_ids=position_ids,
        segments=segments,
        attention_mask=attention_mask,
        head_index=head_index,
        term_source=source[order],
        term_target=targets[order],
        term_row=owners[order],
        terms=Terms.concatenate([row.terms for row, _, _ in scored]).take(order),
        raw_tokens=sum(len(row) for row, _, _ in scored),
        role=rows[members[0]].role if members else "",
    )
