"""The benchmark of updates: its step, its opponent, its clocks and its report."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from graph.errors import ConfigError
from tests.training.support.tiny_model import tiny_model
from training.models.flops import accelerator, operations, shape_of
from training.models.policy import twin, with_adapter
from training.models.shapes import SHAPES, config_of
from training.speed import clock as speed_measure
from training.speed.__main__ import main
from training.speed.benchmark import operations_of
from training.speed.clock import Timing, alternate, time_step
from training.speed.variants import (
    LORA_RANK,
    Stock,
    Work,
    gradients_of,
    head_on_completions,
    make_model,
    ours,
    packed,
    unpacked,
)
from training.speed.workload import Workload, merged_samples, rows_of, step_of, turn_samples, unshared
from training.update.logprobs import attach_scoring, forward_terms
from training.update.packing import pack, pad
from training.update.rows import Row

torch.set_num_threads(1)

SMALL = Workload(groups=2, group_size=4, turns=2, prompt=30, completion=5, observation=4)


def test_the_step_is_made_of_append_only_transcripts_that_share_what_the_graph_shares() -> None:
    groups = step_of(SMALL, 512)
    for group in groups:
        assert 0 < sum(group.rewards) < len(group.rewards)
        for rollout in group.rollouts:
            first, second = rollout.turns
            assert second.prompt_ids[: len(first.prompt_ids + first.completion_ids)] == (
                first.prompt_ids + first.completion_ids
            )
    openings = [group.rollouts[0].turns[0].prompt_ids for group in groups]
    assert {rollout.turns[0].prompt_ids for rollout in groups[0].rollouts} == {openings[0]}
    assert openings[0][:21] == openings[1][:21], "70 % of the prompt is static"
    assert openings[0] != openings[1]
    rows = rows_of(groups)
    (batch,) = pack(rows, 10_000)
    assert sum(map(len, rows)) == 8 * SMALL.longest == 8 * 44
    assert batch.tokens == pytest.approx(21 + 2 * 9 + 8 * 14, abs=8)  # chance lets a few replies begin alike
    apart = rows_of(step_of(unshared(SMALL, 3), 512))
    assert pack(apart, 10_000)[0].tokens == pytest.approx(3 * 35, abs=3)
    assert len(turn_samples(groups)) == 16
    assert [sample.shape for sample in merged_samples(groups)] == [(30, 14)] * 8
    assert all(sum(sample.trained) == 10 for sample in merged_samples(groups))


def on_policy(model: nn.Module, rows: list[Row]) -> list[Row]:
    """The rows as if the model itself had sampled them."""
    told = [np.zeros(len(row.terms)) for row in rows]
    for batch in pad(rows, 10_000):
        with torch.no_grad():
            logprobs = forward_terms(model, batch).logprobs.tolist()
        for row, position, logprob in zip(batch.term_row, batch.terms.positions, logprobs, strict=True):
            told[row][rows[row].terms.positions.tolist().index(position)] = logprob
    return [
        replace(row, terms=replace(row.terms, sampler_logprobs=known)) for row, known in zip(rows, told, strict=True)
    ]


def test_all_four_variants_compute_one_gradient() -> None:
    """The opponent does the same work: with equal turns a rollout, `loss_type="grpo"` is the paper's objective."""
    model = make_model("tiny", "cpu", torch.float32)
    stock = Stock(twin(model))
    groups = step_of(SMALL, 512)
    packed(model, rows_of(groups), 100)  # prepares the model
    rows = on_policy(model, rows_of(groups))
    variants: dict[str, tuple[nn.Module, list[Work]]] = {
        "packed": (model, ours(model, pack(rows, 100))),
        "unpacked": (model, ours(model, pad(rows, 100))),
        "trl": (stock.model, stock.works(turn_samples(groups), 3)),
        "trl_merged": (stock.model, stock.works(merged_samples(groups), 2)),
    }
    found = {}
    for name, (trained, works) in variants.items():
        trained.zero_grad()
        with head_on_completions():
            for work in works:
                work.gradient()
        found[name] = gradients_of(trained)
    for name in variants:
        assert (found[name] - found["unpacked"]).norm() < 1e-3 * found["unpacked"].norm(), name
    stock.model.zero_grad()
    for work in variants["trl"][1]:
        work.gradient()
    torch.testing.assert_close(gradients_of(stock.model), found["trl"], rtol=1e-3, atol=1e-6)


def test_the_reference_pass_leaves_gradients_and_adapter_as_they_are() -> None:
    model = make_model("tiny", "cpu", torch.float32)
    (work, *_) = unpacked(model, rows_of(step_of(SMALL, 512)), 200)
    work.gradient()
    before = gradients_of(model)
    work.reference()
    assert torch.equal(gradients_of(model), before)
    model.zero_grad()
    work.gradient()
    torch.testing.assert_close(gradients_of(model), before)


def test_micro_batches_of_middling_size_stand_for_all_by_their_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []

    def work(tokens: int) -> Work:
        return Work(1, tokens, lambda: ran.append(tokens), lambda: None)

    def a_second_for_ten(action: Any) -> float:
        action()
        return ran[-1] / 10

    monkeypatch.setattr(speed_measure, "clocked", a_second_for_ten)
    works = [work(tokens) for tokens in (50, 10, 40, 20, 30)]
    assert time_step(works, nn.Linear(1, 1), sample=1) == Timing(15.0, timed=1, of=5)
    assert ran == [30]
    assert time_step(works, nn.Linear(1, 1), sample=2).timed == 2
    assert ran[1:] == [20, 30]
    assert time_step(works, nn.Linear(1, 1), sample=None) == Timing(15.0, timed=5, of=5)


def test_variants_take_turns_and_stop_in_time() -> None:
    order: list[str] = []

    def variant(name: str) -> Any:
        def run() -> Timing:
            order.append(name)
            time.sleep(0.01)
            return Timing(1.0, 1, 1)

        return run

    variants = {name: variant(name) for name in "abc"}
    found, repeats = alternate(variants, 3, until=lambda: time.perf_counter() + 100)
    assert "".join(order) == "abcbcacab"
    assert repeats == 3
    found, repeats = alternate(variants, 9, until=time.perf_counter)
    assert repeats == 1
    assert all(len(timings) == 1 for timings in found.values())


@pytest.mark.timeout(600)
def test_the_command_reports_what_the_issue_asks_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--model tiny --groups 1 --group-size 4 --turns 2 --prompt 60 --completion 6 --repeats 1 --phases --json"
    assert main(words.split()) == 0
    report = json.loads(capsys.readouterr().out)
    for key in (
        "time_ratio_trl_over_packed", "time_ratio_trl_merged_over_packed", "time_ratio_unpacked_over_packed",
        "time_ratio_packed_over_unpacked_unshared", "peak_memory_ratio_packed_over_trl",
    ):  # fmt: skip
        assert report[key] > 0
    assert report["gradient_relative_error"] < 1e-4
    assert report["tokens"]["packed"] == report["unique_tokens"] < report["tokens"]["unpacked"]
    assert report["tokens"]["trl"] == 4 * (66 + 78)
    assert report["peak_memory_tokens"]["packed"] <= report["peak_memory_tokens"]["trl"] <= report["token_budget"]
    assert report["stock_head_seconds"].keys() == {"trl", "trl_merged"}
    assert report["micro_batches_timed"]["packed"] == "1 of 1"
    assert report["phases"]["prompt_tokens_saved"] > 0.5
    from training.speed.table import table

    shown = table(report)
    assert "(c) / (a)" in shown
    assert "peak memory (a) / (c)" in shown


def test_mistakes_are_told_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    if not torch.cuda.is_available():
        assert main(["--device", "cuda"]) == 2
        assert "sees no GPU here" in capsys.readouterr().err
    assert main(["--model", "nowhere.json", "--prompt", "9"]) == 2
    assert "no configuration at 'nowhere.json'" in capsys.readouterr().err
    assert main(["--groups", "0"]) == 2
    assert capsys.readouterr().err.startswith("error: --groups is 0; it must be at least 1")
    with pytest.raises(ConfigError, match="group size must be at least 2"):
        Workload(group_size=1)


def test_operations_are_counted_from_the_weights_that_are_there() -> None:
    model = make_model("tiny", "cpu", torch.float32)
    shape = shape_of(config_of("tiny"))
    plain = [module for name, module in model.named_modules() if name.endswith("base_layer")]
    adapter = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert shape.layer_weights == sum(module.weight.numel() for module in plain)
    assert shape.adapter_weights(LORA_RANK) == adapter
    batches = pack([Row(range(7), row.terms.take(np.array([], int))) for row in rows_of(step_of(SMALL, 512))], 100)
    found = operations_of(shape, batches, lora_rank=0, checkpointing=True)
    linear, attention = 2 * shape.layer_weights * 7, 4 * shape.layers * 64 * (7 * 8 / 2)
    assert found.forward == linear + attention
    assert found.model == 3 * found.forward
    assert found.hardware == 4 * found.forward


@pytest.mark.parametrize(("rank", "products"), [(0, 4), (4, 2)])
def test_the_heads_products_are_counted_as_they_are_made(rank: int, products: int) -> None:
    """A frozen head's gradient is found in the forward pass; the logits of a trained one are computed again."""
    model = tiny_model()
    shape = shape_of(model.config)
    policy = with_adapter(model, rank=rank, alpha=8, targets="all-linear", seed=0) if rank else model
    attach_scoring(policy)
    row = rows_of(step_of(SMALL, 512))[0]
    made = []
    for scored in (1, 3):
        [batch] = pack([replace(row, terms=row.terms.take(np.arange(scored)))], 100)
        assert len(batch.head_index) == scored
        with FlopCounterMode(display=False) as counter:
            forward_terms(policy, batch, 1.0).logprobs.sum().backward()
        made.append(counter.get_total_flops())
    head = products * 2 * shape.head_weights * 2
    assert made[1] - made[0] == head
    assert operations(shape, 0, 0, 2, lora_rank=rank, checkpointing=False).hardware == head


@pytest.mark.parametrize(("name", "millions"), [("135m", 135), ("0.5b", 494), ("1.5b", 1543), ("7b", 7615)])
def test_shapes_have_the_weights_of_the_models_they_are_called_after(name: str, millions: int) -> None:
    assert shape_of(config_of(name)).weights / 1e6 == pytest.approx(millions, rel=0.005)
    assert name in SHAPES


def test_gpus_are_known_by_their_drivers_names() -> None:
    assert accelerator("NVIDIA H100 80GB HBM3") == accelerator("H100")
    assert accelerator("NVIDIA A100-SXM4-40GB") == accelerator("A100-40GB") != accelerator("A100 80GB")
    assert accelerator("NVIDIA GeForce RTX 4090") == accelerator("rtx-4090")
    assert accelerator("Apple M2") is None
