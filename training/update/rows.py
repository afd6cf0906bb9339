"""One training sequence, and the loss terms of its tokens.

A `Row` is a sequence of tokens as the model reads it. Only tokens sampled by the trained role have a loss term; all
other text (prompts, results, verdicts, an inserted end of turn) is context. A term carries everything the loss needs
before rows are packed, padded, split or dealt to ranks, so the loss is a plain sum over terms that none of this can
change.

Two rows may have equal tokens but different terms (two identical completions, one rewarded and one not): terms are
never merged, only the computation of their common log-probability is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graph.errors import DataError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def _frozen(values: ArrayLike, dtype: type[np.generic]) -> NDArray[np.generic]:
    array = np.array(values, dtype=dtype)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Terms:
    """M loss terms, one array per quantity; every array has shape (M,)."""

    positions: IntArray
    """Index of the trained token in its row; at least 1, since a row's first token is predicted by nothing."""
    weights: FloatArray
    """Weight of the term in the loss, e.g. 1 / (N * T_i * |a_i,t|) for the paper's objective (section 3.2)."""
    advantages: FloatArray
    sampler_logprobs: FloatArray
    """Log-probability under the policy that sampled the token, at the sampling temperature."""
    turns: IntArray
    """The planner turn of the token, counted within its rollout (GSPO's sequence)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            dtype = np.int64 if field.name in ("positions", "turns") else np.float64
            object.__setattr__(self, field.name, _frozen(getattr(self, field.name), dtype))
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError(f"Terms need arrays of one length, but these differ: {listed}.")

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, index: IntArray) -> Terms:
        """The terms at these indices, in this order."""
        return Terms(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    @classmethod
    def none(cls) -> Terms:
        """No terms, for a row of context only."""
        return cls([], [], [], [], [])  # type: ignore[arg-type]  # __post_init__ makes arrays of any sequence

    @classmethod
    def concatenate(cls, parts: Sequence[Terms]) -> Terms:
        """All terms of `parts` in order."""
        every = [*parts, cls.none()]
        return cls(
            **{field.name: np.concatenate([getattr(part, field.name) for part in every]) for field in fields(cls)}
        )


@dataclass(frozen=True, eq=False)
class Row:
    """One training sequence.

    Args:
        input_ids: token ids, shape (L,), L at least 1.
        terms: the loss terms of the tokens that are trained; positions within 1..L-1 and strictly increasing.
        group: the task whose group of rollouts the row belongs to.
        rollout: the rollout within the group.
        role: whose turns the terms are of.

    Raises:
        DataError: no tokens, a negative token id, or a term outside the row.
    """

    input_ids: IntArray
    terms: Terms
    group: str = ""
    rollout: int = 0
    role: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_ids", _frozen(self.input_ids, np.int64))
        where = f"Row of rollout {self.rollout} of group {self.group!r}"
        if self.input_ids.ndim != 1 or not len(self.input_ids):
            raise DataError(f"{where} needs a flat, non-empty list of token ids, got shape {self.input_ids.shape}.")
        if self.input_ids.min() < 0 or self.input_ids.max() > np.iinfo(np.uint32).max:
            raise DataError(f"{where} holds a token id outside 0..2^32-1; padding belongs in no row.")
        positions = self.terms.positions
        if len(positions) and (positions[0] < 1 or positions[-1] >= len(self) or (np.diff(positions) < 1).any()):
            raise DataError(
                f"{where} has {len(self)} tokens; its term positions must increase within 1..{len(self) - 1}."
            )

    def __len__(self) -> int:
        return len(self.input_ids)
