"""Packed log-probabilities, entropies, losses and gradients equal the unpacked ones, however the model is trained."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from graph.errors import ConfigError, DataError
from tests.training.support.sample_rows import forests, row
from training.update import attention, logprobs
from training.update.logprobs import attach_scoring, forward_terms
from training.update.packing import MicroBatch, deal, pack, pad
from training.update.packing_check import HALF_TOLERANCE, verify_packing
from training.update.rows import Row, Terms

torch.set_num_threads(1)

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.2,
}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES)),  # normalises queries and keys
}
TEMPERATURE = 0.7


def make(kind: str = "llama", lora: bool = False, checkpointing: bool | None = None) -> nn.Module:
    """A prepared model; `checkpointing` is `use_reentrant`, or None for no gradient checkpointing."""
    torch.manual_seed(1)
    causal = MODELS[kind]()
    model: nn.Module = causal
    if lora:
        model = get_peft_model(causal, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    if checkpointing is not None:
        causal.gradient_checkpointing_enable({"use_reentrant": checkpointing})
        causal.enable_input_require_grads()
    assert attach_scoring(model) is None
    return model.train()


def update(model: nn.Module, batches: list[MicroBatch]) -> tuple[Tensor, float]:
    """One step's log-probs and entropies (M, 2) by row and position, and its loss: a plain sum, clipped as PPO does."""
    model.zero_grad()
    scores, total = {}, 0.0
    for batch in batches:
        found = forward_terms(model, batch, TEMPERATURE)
        weights, advantages, old = (
            torch.tensor(values, dtype=torch.float32)
            for values in (batch.terms.weights, batch.terms.advantages, batch.terms.sampler_logprobs)
        )
        ratio = torch.exp(found.logprobs - old - 3.0)
        clipped = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.3) * advantages)
        loss = (weights * (0.1 * found.logprobs.square() - clipped)).sum()
        loss.backward()
        total += loss.item()
        keys = zip(batch.term_row.tolist(), batch.terms.positions.tolist(), strict=True)
        scores |= dict(zip(keys, torch.stack(found, dim=1).tolist(), strict=True))
    return torch.tensor([scores[key] for key in sorted(scores)]), total


def gradients(model: nn.Module) -> Tensor:
    found = [p.grad.flatten().float() for p in model.parameters() if p.requires_grad and p.grad is not None]
    return torch.cat(found)


def relative_error(values: Tensor, reference: Tensor) -> float:
    return float((values - reference).norm() / reference.norm())


def group_of_rollouts(vocabulary: int = 64, rollouts: int = 8, prompt: int = 40, reply: int = 12) -> list[Row]:
    """Two turns each; forks inside the replies, and two identical completions with opposite advantages."""
    random = np.random.default_rng(3)
    start = random.integers(0, vocabulary, prompt).tolist()
    rows = []
    for rollout in range(rollouts):
        first = [rollout % 2, rollout % 3, *random.integers(0, vocabulary, reply).tolist()]
        second = random.integers(0, vocabulary, reply).tolist()
        ids = [*start, *first, 7, 8, *second]
        trained = [*range(prompt, prompt + len(first)), *range(len(ids) - reply, len(ids))]
        rows.append(row(ids, trained, advantage=float(random.normal()), rollout=rollout))
    rows.append(row(rows[0].input_ids.tolist(), rows[0].terms.positions.tolist(), -rows[0].terms.advantages[0]))
    return rows


def assert_equal_updates(model: nn.Module, rows: list[Row], budget: int) -> None:
    plain_scores, plain_loss = update(model, pad(rows, 150))
    plain_gradients = gradients(model)
    scores, loss = update(model, pack(rows, budget))
    assert relative_error(scores, plain_scores) < 1e-4
    assert loss == pytest.approx(plain_loss, rel=1e-4)
    assert relative_error(gradients(model), plain_gradients) < 1e-4


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("checkpointing", [None, False, True], ids=["stored", "checkpointed", "reentrant"])
def test_packed_update_equals_unpacked(kind: str, lora: bool, checkpointing: bool | None) -> None:
    rows = group_of_rollouts()
    model = make(kind, lora, checkpointing)
    assert_equal_updates(model, rows, budget=10_000)
    assert_equal_updates(model, rows, budget=120)


TREE_MODELS = {
    "llama": make("llama", checkpointing=False),
    "qwen2, LoRA": make("qwen2", lora=True),
    "qwen3, LoRA": make("qwen3", lora=True, checkpointing=False),
}


@pytest.mark.parametrize("kind", TREE_MODELS)
@given(rows=forests(), budget=st.integers(10, 60))
@settings(max_examples=20)
def test_packed_update_equals_unpacked_on_random_trees(kind: str, rows: list[Row], budget: int) -> None:
    """Among the rows two have the same tokens, and advantages that are opposite."""
    first = rows[0]
    if len(first.terms):
        rows = [*rows, row(first.input_ids.tolist(), first.terms.positions.tolist(), -first.terms.advantages[0])]
    if any(len(one.terms) for one in rows):
        assert_equal_updates(TREE_MODELS[kind], rows, budget)


def test_identical_completions_with_opposite_advantages_cancel() -> None:
    ids = list(range(12))
    model = make()
    for batch in pack([row(ids, [10, 11], advantage=1.0), row(ids, [10, 11], advantage=-1.0)], 100):
        scores = forward_terms(model, batch)
        signed = torch.tensor(batch.terms.weights * batch.terms.advantages, dtype=torch.float32)
        (signed * scores.logprobs).sum().backward()
    assert gradients(model).abs().max() < 1e-6
    assert len(scores.logprobs) == 4


def test_scores_are_of_the_distribution_at_the_sampling_temperature() -> None:
    model = make()
    ids = list(range(5, 25))
    (batch,) = pack([row(ids)], 100)
    scores = forward_terms(model, batch, TEMPERATURE)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1] / TEMPERATURE
    distribution = torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(scores.logprobs, distribution.log_prob(torch.tensor(ids[1:])))
    torch.testing.assert_close(scores.entropies, distribution.entropy())
    assert not forward_terms(model, batch, entropies=False).entropies.any()


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_chunks_of_the_head_change_nothing(monkeypatch: pytest.MonkeyPatch, lora: bool) -> None:
    rows = group_of_rollouts()
    model = make(lora=lora)
    whole, _ = update(model, pack(rows, 10_000))
    whole_gradients = gradients(model)
    monkeypatch.setattr(logprobs, "CHUNK_LOGITS", 64 * 5)  # five positions at a time
    chunked, _ = update(model, pack(rows, 10_000))
    assert relative_error(chunked, whole) < 1e-6
    assert relative_error(gradients(model), whole_gradients) < 1e-5


@given(rows=forests())
@settings(max_examples=30)
def test_a_frozen_head_passes_back_what_a_trained_one_does(rows: list[Row]) -> None:
    """Forks are positions with several targets; their gradients add up."""
    if not any(len(one.terms) for one in rows):
        return
    trained, frozen = make(), make()
    frozen.get_output_embeddings().requires_grad_(False)
    expected, _ = update(trained, pack(rows, 1000))
    scores, _ = update(frozen, pack(rows, 1000))
    assert relative_error(scores[:, 0], expected[:, 0]) < 1e-6
    torch.testing.assert_close(scores[:, 1], expected[:, 1])
    trained.get_output_embeddings().requires_grad_(False)  # its own gradient is not compared
    theirs = gradients(trained)
    assert (gradients(frozen) - theirs).norm() <= 1e-5 * theirs.norm() + 1e-5  # near zero where advantages cancel


@pytest.mark.parametrize("kind", list(MODELS))
def test_checkpointing_does_not_compute_attention_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = group_of_rollouts()
    plain = make(kind)
    update(plain, pack(rows, 10_000))
    calls: list[None] = []
    merged = attention._merged
    monkeypatch.setattr(attention, "_merged", lambda *given: (calls.append(None), merged(*given))[1])
    model = make(kind, checkpointing=False)
    update(model, pack(rows, 10_000))
    assert len(calls) == SIZES["num_hidden_layers"]
    assert relative_error(gradients(model), gradients(plain)) < 1e-6


def test_a_second_backward_pass_computes_anew_what_the_first_has_used_up() -> None:
    model = make(checkpointing=False)
    (batch,) = pack(group_of_rollouts(), 10_000)
    loss = forward_terms(model, batch).logprobs.sum()
    loss.backward(retain_graph=True)
    once = gradients(model)
    loss.backward()
    assert relative_error(gradients(model), 2 * once) < 1e-6


def test_the_head_sees_only_positions_that_predict_a_trained_token() -> None:
    model = make()
    widths: list[int] = []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: widths.append(inputs[0].shape[0]))
    (batch,) = pack([row(list(range(30)), [20, 21]), row(list(range(30)), [21, 25])], 100)
    with torch.no_grad():
        forward_terms(model, batch)
    assert widths == [3]


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize(("rollouts", "shared", "most"), [(16, True, 1.5), (64, True, 1.0), (16, False, 1.0)])
def test_packing_adds_no_error_in_bfloat16(rollouts: int, shared: bool, most: float, lora: bool) -> None:
    """A step of 64 rollouts differs by less than two orders of its unpacked rows do; so does one that shares nothing.

    Two orders round every activation alike and differ in their sums alone, which grow with the rows. Where rows share a
    token, its gradient is one sum that is rounded once.
    """
    rows = group_of_rollouts(rollouts=rollouts)
    if not shared:
        rows = [
            replace(one, input_ids=np.append((one.input_ids[:1] + n) % 64, one.input_ids[1:]))
            for n, one in enumerate(rows)
        ]
    half = make(lora=lora).bfloat16()
    exact = make(lora=lora)
    exact.load_state_dict(half.state_dict())

    def run(model: nn.Module, batches: list[MicroBatch]) -> tuple[Tensor, Tensor]:
        scores, _ = update(model, batches)
        return scores[:, 0], gradients(model)

    true_scores, true_gradients = run(exact, pad(rows, 10_000))
    plain_scores, plain_gradients = run(half, pad(rows, 1))
    orders = [np.random.default_rng(seed).permutation(len(rows)) for seed in range(4)]
    together = [1, max(map(len, rows)) * 2, 10_000]  # tokens of a micro-batch: one row, two rows, all
    reordered = [run(half, pad([rows[place] for place in order], size))[1] for order in orders for size in together]
    scores, packed_gradients = run(half, pack(rows, 10_000))
    assert relative_error(scores, true_scores) <= 1.1 * relative_error(plain_scores, true_scores)
    assert relative_error(packed_gradients, true_gradients) <= 1.1 * relative_error(plain_gradients, true_gradients)
    noise = max(relative_error(gradient, plain_gradients) for gradient in reordered)
    assert relative_error(packed_gradients, plain_gradients) < most * noise


def test_a_batch_without_terms_still_takes_part() -> None:
    model = make()
    (batch,) = pack([Row([1, 2, 3], Terms.none())], 10)
    scores = forward_terms(model, batch)
    scores.logprobs.sum().backward()
    assert scores.logprobs.shape == (0,)
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_a_prepared_model_generates_and_copies_as_before() -> None:
    torch.manual_seed(1)
    plain = MODELS["llama"]().eval()
    prepared = copy.deepcopy(plain)
    attach_scoring(prepared)
    prompt = torch.tensor([[3, 4, 5], [6, 7, 8]])
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    options: dict[str, Any] = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    expected = plain.generate(prompt, **options)
    assert torch.equal(prepared.generate(prompt, **options), expected)
    other = copy.deepcopy(prepared)
    nn.init.zeros_(prepared.get_output_embeddings().weight)
    assert torch.equal(other.generate(prompt, **options), expected)
    (batch,) = pack([row([1, 2, 3])], 10)
    assert forward_terms(other, batch).logprobs.std() > 0, "a copy scores with its own weights"


def test_refusals_name_the_way_out() -> None:
    (batch,) = pack([row([1, 2, 3])], 10)
    with pytest.raises(ConfigError, match="attach_scoring"):
        forward_terms(MODELS["llama"](), batch)
    with pytest.raises(ConfigError, match="temperature above 0"):
        forward_terms(make(), batch, 0.0)
    with pytest.raises(ConfigError, match="final_logit_softcapping"):
        attach_scoring(Gemma2ForCausalLM(Gemma2Config(**SIZES)))
    with pytest.raises(ConfigError, match="no causal language model"):
        attach_scoring(nn.Linear(2, 2))
    virtual = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(ConfigError, match="virtual tokens"):
        attach_scoring(get_peft_model(MODELS["llama"](), virtual))


def test_a_sliding_model_is_refused_and_trains_unpacked() -> None:
    config = Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=8, max_window_layers=1)
    model = Qwen2ForCausalLM(config)
    refusal = attach_scoring(model)
    assert refusal is not None
    assert "sliding_attention" in refusal
    rows = group_of_rollouts()
    together, _ = update(model, pad(rows, 10_000))
    alone, _ = update(model, pad(rows, 1))
    assert relative_error(together, alone) < 1e-4


def test_first_use_check_passes_keeps_gradients_and_reports_sharing() -> None:
    model = make(lora=True, checkpointing=False)
    rows = group_of_rollouts()
    update(model, pack(rows, 10_000))
    before = gradients(model)
    check = verify_packing(model, rows, budget=10_000)
    assert check.ok
    assert check.reason is None
    assert check.sharing > 2
    assert torch.equal(gradients(model), before)
    assert verify_packing(make().bfloat16(), rows, budget=10_000).ok


def test_first_use_check_costs_no_more_than_a_micro_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = group_of_rollouts()
    budget = 2 * max(len(row) for row in rows) + 1
    assert len(rows) > 2
    assert sum(map(len, rows)) > 2 * budget
    computed = []

    def noted(model: Any, batch: MicroBatch, *args: Any, **kwargs: Any) -> Any:
        computed.append(batch.tokens)
        return forward_terms(model, batch, *args, **kwargs)

    monkeypatch.setattr("training.update.packing_check.forward_terms", noted)
    check = verify_packing(make(), rows, budget)
    assert check.ok
    assert check.sharing > 1
    assert max(computed) <= budget


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_update_equals_unpacked_on_a_gpu(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**{**SIZES, "head_dim": 64})).to("cuda", dtype)
    assert attach_scoring(model) is None
    check = verify_packing(model, group_of_rollouts(prompt=300, reply=150), budget=10_000)
    assert check.ok, check.reason


def test_first_use_check_catches_a_model_that_looks_across_rows() -> None:
    model = make()
    first = model.model.layers[0]
    # A layer that mixes in the mean of all tokens in the batch, as no configuration would tell.
    first.register_forward_hook(lambda _, __, output: output + output.mean(dim=(0, 1)))
    check = verify_packing(model, group_of_rollouts(), budget=10_000)
    assert not check.ok
    assert check.gradient_error > HALF_TOLERANCE
    assert "disagree" in str(check.reason)
    with pytest.raises(DataError, match="none of the rows"):
        verify_packing(model, [Row([1, 2], Terms.none())], budget=10)


def _train_on_one_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # or gloo resolves the machine's name, which may need a network
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/store", world_size=2, rank=rank, timeout=timedelta(seconds=60)
    )
    hand = deal(pack(group_of_rollouts(), BUDGET), ranks=2)[rank]
    for lora in (False, True):
        model = make("qwen2", lora, checkpointing=False)
        ddp = nn.parallel.DistributedDataParallel(model)
        for batch in hand[:-1]:
            with ddp.no_sync():
                _weighted_sum(ddp, batch, ranks=2).backward()
        _weighted_sum(ddp, hand[-1], ranks=2).backward()
        if rank == 0:
            torch.save(gradients(model), folder / f"lora-{lora}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


BUDGET = 130
"""Makes an odd number of micro-batches, so that one of two ranks runs one without loss."""


def _weighted_sum(model: nn.Module, batch: MicroBatch, ranks: int) -> Tensor:
    signed = torch.tensor(batch.terms.weights * batch.terms.advantages, dtype=torch.float32)
    return ranks * (signed * forward_terms(model, batch, TEMPERATURE).logprobs).sum()


@pytest.mark.timeout(120)
def test_two_processes_add_up_to_one(tmp_path: Path) -> None:
    rows = group_of_rollouts()
    assert len(pack(rows, BUDGET)) % 2
    torch.multiprocessing.spawn(_train_on_one_rank, args=(tmp_path,), nprocs=2)
    for lora in (False, True):
        model = make("qwen2", lora, checkpointing=False)
        for batch in pad(rows, 200):
            _weighted_sum(model, batch, ranks=1).backward()
        assert relative_error(torch.load(tmp_path / f"lora-{lora}.pt"), gradients(model)) < 1e-4
