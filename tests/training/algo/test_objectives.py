"""The loss against loops over its definition, against plain model calls, and against TRL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel, Qwen2ForCausalLM

from graph.errors import ConfigError
from tests.training.support.sample_rollouts import groups, rollout, task
from tests.training.support.tiny_model import tiny_folder, tiny_model, tiny_tokenizer
from training.algo.credit import advantages
from training.algo.objectives import OBJECTIVES, TermTensors, k3, policy_loss
from training.algo.settings import USUAL_CLIPS, ObjectiveSettings
from training.rollouts.records import Group, Rollout
from training.update.assemble import assemble
from training.update.logprobs import attach_scoring, forward_terms
from training.update.packing import MicroBatch, pack, pad

torch.set_num_threads(1)


def by_definition(
    terms: dict[str, Tensor], objective: str, low: float, high: float, beta: float, cap: float | None
) -> Tensor:
    """One token after the other, as the papers write it."""
    new, sampler, old, ref = (terms[name] for name in ("new", "sampler", "old", "ref"))
    base = sampler if cap is None else old
    total = new.new_zeros(())
    for i in range(len(new)):
        advantage, turn = terms["advantages"][i], terms["turn_of"][i]
        if objective == "gspo":
            members = [j for j in range(len(new)) if terms["turn_of"][j] == turn]
            ratio = torch.exp(sum((new[j] - base[j] for j in members), new.new_zeros(())) / len(members))
        else:
            ratio = torch.exp(new[i] - base[i])
        if objective == "cispo":
            value = min(ratio.detach(), 1 + high) * advantage * new[i]
        else:
            clipped = min(max(ratio, new.new_tensor(1 - low)), new.new_tensor(1 + high))
            value = min(ratio * advantage, clipped * advantage)
        if cap is not None:
            value = value * min(torch.exp(old[i] - sampler[i]), new.new_tensor(cap))
        divergence = torch.exp(ref[i] - new[i]) - (ref[i] - new[i]) - 1
        total = total + terms["weights"][i] * (beta * divergence - value)
    return total


@given(
    st.integers(0, 2**16),
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.sampled_from(sorted(OBJECTIVES)),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([None, 1.1]),
)
@settings(max_examples=60)
def test_losses_and_gradients_follow_their_definitions(
    seed: int, lengths: list[int], objective: str, beta: float, cap: float | None
) -> None:
    chance = np.random.default_rng(seed)
    count = sum(lengths)
    values = {name: torch.tensor(chance.normal(-1, 0.4, count)) for name in ("new", "sampler", "old", "ref")}
    values["advantages"] = torch.tensor(chance.normal(0, 1, count))
    values["weights"] = torch.tensor(chance.uniform(0, 1, count))
    # Packed terms of one turn need not stand side by side.
    values["turn_of"] = torch.tensor(chance.permutation(np.repeat(np.arange(len(lengths)), lengths)))
    chosen = ObjectiveSettings(objective, beta=beta, tis_cap=cap)
    results = []
    for compute in (
        lambda new: policy_loss(
            TermTensors(
                new, values["sampler"], values["advantages"], values["weights"], values["turn_of"],
                values["old"], values["ref"],
            ),
            chosen,
        ).loss,
        lambda new: by_definition({**values, "new": new}, objective, *chosen.clips, beta, cap),
    ):  # fmt: skip
        new = values["new"].clone().requires_grad_()
        loss = compute(new)
        loss.backward()
        assert new.grad is not None
        results.append((loss.detach(), new.grad))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def turns_in(batch: MicroBatch) -> Tensor:
    keys = np.stack([batch.term_row, batch.terms.turns])
    return torch.tensor(np.unique(keys, axis=1, return_inverse=True)[1].reshape(-1))


def terms_of(batch: MicroBatch, logprobs: Tensor, ref: Tensor | None = None) -> TermTensors:
    stamps = batch.terms
    sampler, worth, weights = (
        torch.tensor(values, dtype=torch.float32)
        for values in (stamps.sampler_logprobs, stamps.advantages, stamps.weights)
    )
    return TermTensors(logprobs, sampler, worth, weights, turns_in(batch), ref_logprobs=ref)


def plain_objective(model: PreTrainedModel, reference: PreTrainedModel, step: list[Group], beta: float) -> Tensor:
    """Equation 5 with one model call a turn and no rows, batches or weights: what the whole pipeline must equal."""

    def logprobs(of: PreTrainedModel, ids: list[int], sampled: int) -> Tensor:
        logits = of(torch.tensor([ids])).logits[0, -sampled - 1 : -1].double()
        return logits.log_softmax(-1).gather(1, torch.tensor(ids[-sampled:])[:, None])[:, 0]

    compared = [group for group in step if len(group.rollouts) > 1]
    means = []
    for group in compared:
        for member, advantage in zip(group.rollouts, advantages(group.rewards), strict=True):
            values = [torch.zeros((), dtype=torch.float64)]
            for turn in member.turns:
                sampled = len(turn.completion_ids)
                if sampled:
                    ids = [*turn.prompt_ids, *turn.completion_ids]
                    new = logprobs(model, ids, sampled)
                    with torch.no_grad():
                        ref = logprobs(reference, ids, sampled)
                    ratio = (new - torch.tensor(turn.logprobs)).exp()
                    gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.3) * advantage)
                    values.append((gain - beta * ((ref - new).exp() - (ref - new) - 1)).mean())
            means.append(torch.stack(values).sum() / max(1, len(member.turns)))
    return -torch.stack(means).mean() if means else torch.zeros((), dtype=torch.float64)


@pytest.fixture(scope="module")
def policy() -> PreTrainedModel:
    model = tiny_model(1).train()
    assert attach_scoring(model) is None
    return model


@pytest.fixture(scope="module")
def reference() -> PreTrainedModel:
    model = tiny_model(2).train()
    assert attach_scoring(model) is None
    return model


@given(groups(), st.sampled_from([(pack, 6), (pack, 10**6), (pad, 6), (pad, 10**6)]), st.sampled_from([0.0, 0.1]))
@settings(max_examples=25)
def test_the_whole_update_is_the_papers_objective(
    policy: PreTrainedModel, reference: PreTrainedModel, step: list[Group], way: tuple[Any, int], beta: float
) -> None:
    lay, budget = way
    chosen = ObjectiveSettings(beta=beta, tis_cap=None)
    found = torch.zeros(())
    policy.zero_grad()
    for batch in lay(assemble(step, temperature=1.0, keep_zero_variance=beta > 0).rows, budget):
        with torch.no_grad():
            ref = forward_terms(reference, batch, 1.0, entropies=False).logprobs
        part = policy_loss(terms_of(batch, forward_terms(policy, batch, 1.0).logprobs, ref), chosen).loss
        part.backward()
        found += part.detach()
    gradients = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    expected = plain_objective(policy, reference, step, beta)
    if expected.requires_grad:
        expected.backward()
    torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-4, atol=1e-5)
    for name, parameter in policy.named_parameters():
        wanted = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        torch.testing.assert_close(gradients.get(name, torch.zeros_like(parameter)), wanted, rtol=1e-3, atol=1e-4)


def trl_gradients(step: list[Rollout], path: Path, reference: PreTrainedModel, **options: Any) -> dict[str, Tensor]:
    """The gradient of stock TRL on the same rollouts, one turn each."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model = Qwen2ForCausalLM.from_pretrained(tiny_folder(path / "model", seed=1))  # TRL loads the reference from there
    arguments = GRPOConfig(
        output_dir=str(path), per_device_train_batch_size=len(step), num_generations=len(step), bf16=False,
        report_to=[], use_cpu=True, gradient_checkpointing=False, temperature=1.0, max_completion_length=7,
        disable_dropout=True, use_bias_correction_kl=False, **options,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model,
        reward_funcs=lambda prompts, **_: [0.0] * len(prompts),
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": ["x"] * len(step)}),
        processing_class=tiny_tokenizer(),
    )
    trainer.current_gradient_accumulation_steps = 1
    turns = [member.turns[0] for member in step]
    width = max(len(turn.completion_ids) for turn in turns)
    mask = torch.tensor([[i < len(turn.completion_ids) for i in range(width)] for turn in turns]).long()

    def padded(rows: list[tuple[Any, ...]]) -> Tensor:
        return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])

    inputs: dict[str, Any] = {
        "prompt_ids": torch.tensor([turn.prompt_ids for turn in turns]),
        "prompt_mask": torch.ones(len(turns), len(turns[0].prompt_ids)).long(),
        "completion_ids": padded([turn.completion_ids for turn in turns]),
        "completion_mask": mask,
        "advantages": torch.tensor(advantages([member.reward or 0.0 for member in step]), dtype=torch.float32),
        "old_per_token_logps": padded([turn.logprobs for turn in turns]),
        "num_items_in_batch": mask.sum(),
    }
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    with torch.no_grad():
        logits = reference(ids, attention_mask=torch.ones_like(ids)).logits[:, -width - 1 : -1]
    inputs["ref_per_token_logps"] = logits.log_softmax(-1).gather(2, inputs["completion_ids"][..., None])[..., 0]
    trainer.model.train()
    trainer._compute_loss(trainer.model, inputs).backward()
    return {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("ours", "reduction", "theirs"),
    [
        ({"beta": 0.0}, "flow", {"loss_type": "grpo", "epsilon": 0.2, "epsilon_high": 0.3, "beta": 0.0}),
        ({"beta": 0.05}, "flow", {"loss_type": "grpo", "epsilon": 0.2, "epsilon_high": 0.3, "beta": 0.05}),
        ({"beta": 0.0}, "token_mean", {"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.3, "beta": 0.0}),
        ({"beta": 0.0}, "constant", {"loss_type": "dr_grpo", "epsilon": 0.2, "epsilon_high": 0.3, "beta": 0.0}),
        (
            {"objective": "gspo", "clip_low": 0.2, "clip_high": 0.3, "beta": 0.0}, "flow",
            {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.2, "epsilon_high": 0.3,
             "beta": 0.0},
        ),
        (
            {"objective": "cispo", "clip_high": 0.1, "beta": 0.0}, "token_mean",
            {"loss_type": "cispo", "epsilon_high": 1.1, "beta": 0.0},
        ),
    ],
    ids=["grpo", "grpo with KL", "dapo", "dr_grpo", "gspo", "cispo"],
)  # fmt: skip
def test_one_turn_a_rollout_gives_the_gradients_of_trl(
    ours: dict[str, Any],
    reduction: str,
    theirs: dict[str, Any],
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    tmp_path: Path,
) -> None:
    prompt = [5, 6, 7]
    completions = [[9, 10], [9, 10, 11, 12], [13], [14, 15, 16], [9, 10, 11]]
    step = []
    chance = np.random.default_rng(3)
    for index, completion in enumerate(completions):
        logits = policy(torch.tensor([prompt + completion])).logits[0, 2:-1].log_softmax(-1).detach()
        sampled = logits[range(len(completion)), completion].numpy() + chance.normal(0, 0.3, len(completion))
        step.append(rollout([(prompt, completion)], index % 2 / 1, index=index, logprobs=[sampled.tolist()]))
    expected = trl_gradients(step, tmp_path, reference, **theirs)
    made = assemble([Group(task(), tuple(step))], temperature=1.0, reduction=reduction, max_tokens=7)
    policy.zero_grad()
    for batch in pack(made.rows, 12):
        with torch.no_grad():
            ref = forward_terms(reference, batch, 1.0).logprobs
        terms = terms_of(batch, forward_terms(policy, batch, 1.0).logprobs, ref)
        policy_loss(terms, ObjectiveSettings(**ours, tis_cap=None)).loss.backward()
    assert set(expected) == {name for name, p in policy.named_parameters() if p.grad is not None}
    for name, parameter in policy.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=2e-3, atol=2e-5)


def test_truncation_bounds_the_mismatch_and_the_gap_is_told() -> None:
    new = torch.tensor([-1.0, -1.0], requires_grad=True)
    sampler = torch.tensor([-1.0, -4.0])
    terms = TermTensors(new, sampler, torch.ones(2), torch.ones(2), torch.tensor([0, 1]))
    parts = policy_loss(terms, ObjectiveSettings(beta=0.0, tis_cap=2.0))
    assert float(parts.loss.detach()) == pytest.approx(-3.0)
    assert parts.sums["importance_truncated"] == 1
    assert float(parts.sums["logprob_gap"]) == float(parts.largest_gap) == pytest.approx(3.0)


@given(st.floats(-20, 0), st.floats(-20, 0))
def test_k3_is_a_divergence(new: float, ref: float) -> None:
    value = float(k3(torch.tensor(new, dtype=torch.float64), torch.tensor(ref, dtype=torch.float64)))
    assert value >= -1e-9
    assert float(k3(torch.tensor(new), torch.tensor(new))) == 0


@pytest.mark.parametrize(
    "bad", [{"objective": "reinforce"}, {"clip_low": 2.0}, {"clip_high": -1.0}, {"beta": float("nan")}, {"tis_cap": 0}]
)
def test_constants_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ObjectiveSettings(**bad)


def test_a_kl_without_a_reference_is_refused() -> None:
    zero = torch.zeros(1)
    with pytest.raises(ConfigError, match="reference"):
        policy_loss(TermTensors(zero, zero, zero, zero, torch.tensor([0])), ObjectiveSettings(beta=0.1))


def test_every_objective_has_its_usual_clips() -> None:
    assert OBJECTIVES.keys() == USUAL_CLIPS.keys()
