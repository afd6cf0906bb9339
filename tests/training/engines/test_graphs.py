"""Recorded decoding steps draw what ordinary ones draw; on a CPU a step is run again where a GPU replays it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.training.support.tiny_model import tiny_model
from training.engines.decoding import Draft, causal_model, draw, empty_memory, prefill
from training.engines.graphs import Step, StepGraphs
from training.models.adapters import play
from training.models.policy import with_adapter
from training.update.logprobs import attach_scoring

torch.set_num_threads(1)

ENDS = frozenset(range(100, 130))
OPENING = [10 + i % 80 for i in range(260)]


class Unrecorded(StepGraphs):
    """Runs the step where a GPU would replay it."""

    recorded = 0

    def record(self, step: Step) -> Callable[[], None]:
        self.recorded += 1
        step.run()  # as recording does: it leaves keys and values behind
        return step.run


def plain() -> Any:
    return tiny_model(3, 0.1).eval()


def scoring(seed: int = 3) -> Any:
    model = tiny_model(seed, 0.1).eval()
    attach_scoring(model)
    return model


def drawn(
    model: Any, prompts: Sequence[list[int]], graphs: StepGraphs | None, shared: int = 0, longest: int = 40
) -> tuple[list[Draft], list[Tensor]]:
    """The drafts of prompts, every third one greedy, and their memories."""
    found = prefill(model, [(empty_memory(model), prompt) for prompt in prompts], 4096)
    rows = [
        Draft(line, 0.8 * (line % 3 > 0), max(1, longest - 3 * line), memory, logits)
        for line, (memory, logits) in enumerate(found)
    ]
    kept: dict[int, Tensor] = {}
    draw(model, rows, ENDS, lambda draft, memory: kept.update({draft.seed: memory}), shared, graphs)
    return rows, [kept[line] for line in range(len(rows))]


def assert_same(one: tuple[list[Draft], list[Tensor]], other: tuple[list[Draft], list[Tensor]], near: float) -> None:
    for draft, same, memory, copy in zip(one[0], other[0], one[1], other[1], strict=True):
        assert draft.tokens == same.tokens
        assert draft.ended == same.ended
        assert draft.logprobs == pytest.approx(same.logprobs, abs=near)
        assert memory.shape == copy.shape
        assert torch.allclose(memory, copy, atol=near)


def openings(rows: int, common: list[int]) -> list[list[int]]:
    return [[*common, *range(200, 203 + 5 * line)] for line in range(rows)]


@pytest.mark.parametrize("make", [plain, scoring])
@pytest.mark.parametrize("rows", [1, 3, 9])
def test_a_recorded_step_draws_what_an_ordinary_one_draws(make: Callable[[], Any], rows: int) -> None:
    model, graphs = make(), Unrecorded()
    ordinary = drawn(model, openings(rows, []), None)
    assert_same(drawn(model, openings(rows, []), graphs), ordinary, 1e-5)
    assert graphs.recorded == 1
    if rows == 9:
        assert len({len(draft.tokens) for draft in ordinary[0]}) > 3
        assert {draft.ended for draft in ordinary[0]} == {True, False}


def test_what_prompts_begin_with_lies_apart_and_is_part_of_what_is_kept() -> None:
    model, graphs = scoring(), Unrecorded()
    prompts = openings(5, OPENING)
    assert_same(drawn(model, prompts, graphs, len(OPENING)), drawn(model, prompts, None), 1e-5)
    [recording] = graphs._recordings.values()
    assert recording.step.prefix.shape[3] == 256


def test_nothing_of_an_earlier_wave_is_seen() -> None:
    model, graphs = scoring(), Unrecorded()
    first = drawn(model, openings(7, OPENING), graphs, len(OPENING))
    kept = [memory.clone() for memory in first[1]]
    assert graphs._storage is not None
    graphs._storage.fill_(255)  # not a number, in any type
    other = [[*[9, *OPENING[1:]], *range(300, 302 + 2 * line)] for line in range(5)]
    assert_same(drawn(model, other, graphs, len(OPENING), longest=70), drawn(model, other, None, longest=70), 1e-5)
    assert all(torch.equal(memory, copy) for memory, copy in zip(first[1], kept, strict=True))
    assert graphs.recorded == 1, "7 and 5 rows take the places of 8"


def test_each_adapter_has_its_own_recording_which_sees_new_weights() -> None:
    model: nn.Module = with_adapter(
        tiny_model(7, 0.1), rank=4, alpha=8, targets="all-linear", seed=0, names=("planner", "solver")
    ).eval()
    attach_scoring(model)
    graphs, causal = Unrecorded(), causal_model(model)
    transcripts = []
    for _ in range(2):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        for role in ("planner", "solver"):
            play(model, role)
            recorded = drawn(causal, openings(3, []), graphs)
            assert_same(recorded, drawn(causal, openings(3, []), None), 1e-4)
            transcripts.append(recorded[0][0].tokens)
    assert graphs.recorded == 2
    assert len({tuple(tokens) for tokens in transcripts}) > 2


def test_recordings_are_few_and_share_one_storage() -> None:
    model, graphs = scoring(), Unrecorded(limit=2)
    for rows in (4, 2, 1, 4):  # the first is gone when it comes again
        drawn(model, openings(rows, []), graphs, longest=3)
    assert (graphs.recorded, len(graphs)) == (4, 2)
    storage = graphs._storage
    drawn(model, openings(1, []), graphs, longest=3)
    assert graphs.recorded == 4
    assert graphs._storage is storage
    drawn(model, openings(4, OPENING), graphs, longest=3)
    assert (graphs.recorded, len(graphs)) == (5, 1), "a larger storage, and nothing recorded on the old one"
    drawn(scoring(), openings(1, []), graphs, longest=3)
    assert graphs.recorded == 6, "other weights"
    graphs.clear()
    assert len(graphs) == 0


class NoWaiting(TorchDispatchMode):
    """Refuses what waits for a device."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert function not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return function(*args, **(kwargs or {}))


class Watched(Unrecorded):
    def record(self, step: Step) -> Callable[[], None]:
        with NoWaiting():
            return super().record(step)


@pytest.mark.parametrize("make", [plain, scoring])
def test_a_recorded_step_does_not_wait_for_the_device(make: Callable[[], Any]) -> None:
    graphs = Watched()
    drawn(make(), openings(3, OPENING), graphs, len(OPENING), longest=2)
    assert graphs.recorded == 1


class Failing(StepGraphs):
    tried = 0

    def record(self, step: Step) -> Callable[[], None]:
        self.tried += 1
        raise RuntimeError("operation not permitted when stream is capturing")


def test_what_cannot_be_recorded_is_drawn_as_ever_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    model, graphs = scoring(), Failing()
    with caplog.at_level(logging.WARNING):
        for rows in (2, 3):
            assert_same(drawn(model, openings(rows, []), graphs), drawn(model, openings(rows, []), None), 0)
    assert graphs.tried == 1
    assert caplog.text.count("not permitted") == 1


@pytest.mark.parametrize("setting", [{"layer_types": ["sliding_attention"] * 2}, {"_attn_implementation": "eager"}])
def test_models_that_need_more_than_a_mask_are_not_recorded(setting: dict[str, Any]) -> None:
    model, graphs = plain(), Failing()
    for name, value in setting.items():
        setattr(model.config, name, value)
    assert graphs.batch(model, [empty_memory(model)], 4, 0) is None
    assert graphs.tried == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("attached", [False, True])
def test_a_cuda_graph_draws_what_an_ordinary_step_draws(attached: bool) -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=512, hidden_size=256, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, initializer_range=0.1,
    )  # fmt: skip
    model: Any = Qwen2ForCausalLM(config).cuda().eval()
    if attached:
        attach_scoring(model)
    graphs = StepGraphs()
    for rows, common, longest in ((3, [], 20), (4, [], 30), (6, OPENING, 20), (3, [], 20)):
        prompts, shared = openings(rows, common), len(common)
        recorded, ordinary = drawn(model, prompts, graphs, shared, longest), drawn(model, prompts, None, 0, longest)
        assert_same(recorded, ordinary, 1e-3)
    assert graphs._usable
    assert len(graphs) == 2, "the third wave needs a larger storage, the fourth is recorded anew"
