"""What a decoding step costs beside the model: no loop over rows, and one transfer to the host."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training.support.tiny_model import tiny_model
from training.engines.decoding import Draft, draw, empty_memory, prefill
from training.update.logprobs import attach_scoring

torch.set_num_threads(1)

MODEL = tiny_model(3, 0.1).eval()


def drafts(rows: int, most: Callable[[int], int]) -> list[Draft]:
    [(memory, logits)] = prefill(MODEL, [(empty_memory(MODEL), list(range(10, 40)))], 4096)
    return [Draft(row, 0.7 + 0.1 * (row % 4), most(row), memory, logits) for row in range(rows)]


class Transfers(TorchDispatchMode):
    """Counts what waits for the device: numbers, lists, truth values."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.lists = self.numbers = 0
        plain = Tensor.tolist

        def tolist(tensor: Tensor) -> Any:
            self.lists += 1
            return plain(tensor)

        monkeypatch.setattr(Tensor, "tolist", tolist)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.numbers += function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("scale", [torch.float32, torch.bfloat16])
def test_what_prompts_begin_with_is_attended_to_as_if_each_had_it(scale: torch.dtype) -> None:
    model: Any = tiny_model(3, 0.1).to(scale).eval()
    attach_scoring(model)
    opening = list(range(10, 60))
    prompts = [opening, [*opening, 70], [*opening, *range(80, 95)], opening]

    def drawn(shared: int) -> tuple[list[Draft], list[Tensor]]:
        found = prefill(model, [(empty_memory(model), prompt) for prompt in prompts], 4096)
        rows = [Draft(line, 1.0, 4 + 3 * line, memory, logits) for line, (memory, logits) in enumerate(found)]
        kept: dict[int, Tensor] = {}
        draw(model, rows, frozenset(), lambda draft, memory: kept.update({draft.seed: memory}), shared)
        return rows, [kept[line] for line in range(len(rows))]

    apart, together = drawn(0), drawn(len(opening))
    near = 1e-5 if scale == torch.float32 else 0.05
    for alone, shared, memory, same in zip(apart[0], together[0], apart[1], together[1], strict=True):
        assert shared.logprobs[0] == alone.logprobs[0]
        if scale == torch.float32:  # in half precision a token may differ, and all after it
            assert shared.tokens == alone.tokens
        if shared.tokens == alone.tokens:
            assert shared.logprobs == pytest.approx(alone.logprobs, abs=near)
            assert same.shape == memory.shape
            assert torch.allclose(same, memory, atol=near)


def transfers(rows: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> Transfers:
    made = drafts(rows, lambda _: steps)
    with monkeypatch.context() as patch, Transfers(patch) as counted:
        draw(MODEL, made, frozenset(), lambda draft, memory: None)
    return counted


def test_a_step_has_one_transfer_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = transfers(64, 10, monkeypatch), transfers(64, 30, monkeypatch)
    assert many.lists - few.lists == 20
    assert few.lists == 10 + 2, "and two for what was drawn"
    assert many.numbers - few.numbers <= 20, "transformers looks once a step whether anything is masked"


def python_calls(rows: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Calls from Python while drawing, without those inside the model."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    base = MODEL.base_model
    forward = base.forward

    def unwatched(*arguments: Any, **more: Any) -> Any:
        sys.setprofile(None)
        try:
            return forward(*arguments, **more)
        finally:
            sys.setprofile(count)

    with monkeypatch.context() as patch:
        patch.setattr(base, "forward", unwatched)
        made = drafts(rows, lambda _: steps)
        sys.setprofile(count)
        try:
            draw(MODEL, made, frozenset(), lambda draft, memory: None)
        finally:
            sys.setprofile(None)
    return calls


def test_a_step_of_many_rows_takes_no_more_of_python_than_one_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    per_step = {
        rows: (python_calls(rows, 40, monkeypatch) - python_calls(rows, 20, monkeypatch)) / 20 for rows in (4, 64)
    }
    assert per_step[64] == pytest.approx(per_step[4], abs=1)
    assert per_step[64] < 70


def test_rows_end_by_themselves_and_the_others_go_on_as_if_alone() -> None:
    ends = frozenset(range(100, 160))
    order: list[int] = []
    together = drafts(12, lambda row: 3 + row)
    draw(MODEL, together, ends, lambda draft, memory: order.append(draft.seed))
    assert sorted(order) == list(range(12))
    assert {draft.ended for draft in together} == {True, False}
    for row, draft in enumerate(together):
        [alone] = [each for each in drafts(12, lambda row: 3 + row) if each.seed == row]
        kept: list[Tensor] = []
        draw(MODEL, [alone], ends, lambda draft, memory, kept=kept: kept.append(memory))  # type: ignore[misc]
        assert draft.tokens == alone.tokens
        assert draft.logprobs == pytest.approx(alone.logprobs, abs=1e-5)
        assert draft.ended == (draft.tokens[-1] in ends)
        assert len(draft.tokens) == 3 + row or draft.ended
        assert kept[0].shape[3] == 30 + len(draft.tokens) - 1
