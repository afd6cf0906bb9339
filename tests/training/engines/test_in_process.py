"""The in-process engine: what it draws, what it remembers, whom it waits for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import nn

from graph.errors import ConfigError, ContextLengthExceeded, ModelError
from tests.training.support.tiny_model import tiny_model
from training.engines import in_process
from training.engines.base import Completion, Sampling
from training.engines.in_process import TransformersEngine
from training.engines.memories import Memories
from training.flow_grpo.config import FlowGRPOConfig
from training.models.policy import with_adapter
from training.update.logprobs import attach_scoring, completion_logprobs

torch.set_num_threads(1)
END = frozenset({2})
PREFIX = list(range(10, 60))


def policy(lora: bool = False, spread: float = 0.1) -> nn.Module:
    model: nn.Module = tiny_model(3, spread)
    if lora:
        torch.manual_seed(5)
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    attach_scoring(model)
    return model


def plainly(model: nn.Module, prompt: Sequence[int], tokens: Sequence[int], temperature: float) -> list[float]:
    """Log-probabilities by one ordinary forward pass."""
    model.eval()
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1].float()
    return (logits / temperature).log_softmax(-1)[range(len(tokens)), list(tokens)].tolist()  # type: ignore[no-any-return]


async def ask(
    engine: TransformersEngine, prompt: Sequence[int], run: str = "a", seed: int = 0, **sampling: Any
) -> Completion:
    return await engine.generate(prompt, Sampling(**{"max_tokens": 8, **sampling}), seed=seed, run=run)


async def transcript(engine: TransformersEngine, run: str, turns: int) -> list[tuple[list[int], Completion]]:
    """A run of several turns, each prompt extending the last."""
    prompt = [*PREFIX, 100 + len(run), 70]
    made = []
    async with engine.admit():
        for turn in range(turns):
            reply = await ask(engine, prompt, run, seed=hash((run, turn)) % 1000, temperature=0.8)
            made.append((prompt, reply))
            prompt = [*prompt, *reply.token_ids, 5, 6, 7 + turn]
    return made


async def test_a_wave_runs_on_the_gpu_of_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    open_: list[torch.device] = []

    @contextmanager
    def current(device: torch.device) -> Iterator[None]:
        open_.append(device)
        yield
        open_.pop()

    monkeypatch.setattr(in_process, "current", current)
    sample = TransformersEngine._sample

    def sampling(engine: TransformersEngine, *rest: Any) -> None:
        assert open_ == [engine._causal.device], "the thread of waves begins with the first GPU"
        sample(engine, *rest)

    monkeypatch.setattr(TransformersEngine, "_sample", sampling)
    engine = TransformersEngine(policy(), END)
    await ask(engine, PREFIX)
    await engine.aclose()
    assert not open_


async def test_what_ran_out_of_memory_names_settings_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(TransformersEngine, "_sample", full)
    engine = TransformersEngine(policy(), END)
    with pytest.raises(ConfigError, match="ran out of memory; lower") as told:
        async with engine.admit():
            await ask(engine, PREFIX)
    named = set(re.findall(r"[a-z]+_[a-z_]+", str(told.value)))
    assert named
    assert named <= {item.name for item in fields(FlowGRPOConfig)}
    await engine.aclose()


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
async def test_completions_carry_the_log_probabilities_they_were_drawn_with(lora: bool, deterministic: bool) -> None:
    model = policy(lora)
    engine = TransformersEngine(model, END, deterministic=deterministic, max_batch=3)
    runs = await asyncio.gather(*(transcript(engine, "r" * n, turns=n % 3 + 1) for n in range(1, 6)))
    for prompt, reply in (turn for run in runs for turn in run):
        assert reply.finish_reason == ("stop" if reply.token_ids[-1] in END else "length")
        assert list(reply.logprobs) == pytest.approx(plainly(model, prompt, reply.token_ids, 0.8), abs=1e-4)
    await engine.aclose()


async def test_known_tokens_are_not_computed_again() -> None:
    engine = TransformersEngine(policy(), END, deterministic=True)
    runs = await asyncio.gather(*(transcript(engine, "r" * n, turns=3) for n in range(1, 5)))
    figures = engine.statistics
    # The opening once, then of each turn what was not there: the question, or the last token drawn and the news.
    new = len(PREFIX) + sum(2 if turn == 0 else 4 for run in runs for turn in range(len(run)))
    assert figures.computed_tokens == new
    assert figures.prompt_tokens == sum(len(prompt) for run in runs for prompt, _ in run)
    await engine.sync(1)
    before = figures.computed_tokens
    reply = await ask(engine, runs[0][-1][0])
    assert reply.policy_version == 1
    assert figures.computed_tokens - before == len(runs[0][-1][0])  # nothing of the old weights is used
    await engine.aclose()


async def test_equal_prompts_of_a_wave_are_computed_once_and_drawn_apart() -> None:
    engine = TransformersEngine(policy(), END, deterministic=True)

    async def one(n: int) -> Completion:
        async with engine.admit():
            return await ask(engine, PREFIX, f"run {n}", seed=n)

    replies = await asyncio.gather(*(one(n) for n in range(8)))
    assert engine.statistics.computed_tokens == len(PREFIX)
    assert engine.statistics.waves == 1
    assert len({reply.token_ids for reply in replies}) > 1
    await engine.aclose()


async def test_a_completion_does_not_depend_on_its_company() -> None:
    model = policy()
    alone = TransformersEngine(model, END)
    crowd = TransformersEngine(model, END, deterministic=True)
    prompts = [[*PREFIX[:n], 99] for n in (3, 50, 17, 30)]
    single = [await ask(alone, prompt, str(n), seed=n) for n, prompt in enumerate(prompts)]
    together = await asyncio.gather(*(ask(crowd, prompt, str(n), seed=n) for n, prompt in enumerate(prompts)))
    assert [reply.token_ids for reply in single] == [reply.token_ids for reply in together]
    await alone.aclose()
    await crowd.aclose()


async def test_sampling_follows_the_distribution() -> None:
    model = policy(spread=0.4)
    engine = TransformersEngine(model, END, max_batch=512)
    replies = await asyncio.gather(*(ask(engine, PREFIX, str(n), seed=n, max_tokens=1) for n in range(2000)))
    with torch.no_grad():
        wanted = model(torch.tensor([PREFIX])).logits[0, -1].softmax(-1)
    counts = torch.bincount(torch.tensor([reply.token_ids[0] for reply in replies]), minlength=512) / 2000
    top = wanted.topk(5).indices
    spread = (wanted * (1 - wanted) / 2000).sqrt()
    assert bool(((counts - wanted).abs() < 5 * spread)[top].all())
    await engine.aclose()


async def test_temperature_zero_is_greedy_and_tells_plain_log_probabilities() -> None:
    model = policy()
    engine = TransformersEngine(model, END)
    first, second = [await ask(engine, PREFIX, seed=seed, temperature=0.0) for seed in (1, 2)]
    assert first.token_ids == second.token_ids
    assert list(first.logprobs) == pytest.approx(plainly(model, PREFIX, first.token_ids, 1.0), abs=1e-4)
    with torch.no_grad():
        assert first.token_ids[0] == int(model(torch.tensor([PREFIX])).logits[0, -1].argmax())
    await engine.aclose()


async def test_a_deterministic_wave_waits_for_all_that_were_admitted() -> None:
    engine = TransformersEngine(policy(), END, deterministic=True)

    async def late(seconds: float, run: str) -> None:
        async with engine.admit():
            await asyncio.sleep(seconds)
            await ask(engine, PREFIX, run)

    await asyncio.gather(*(late(n / 20, str(n)) for n in range(4)))
    assert engine.statistics.waves == 1
    await engine.aclose()


async def test_branches_of_one_run_share_a_wave_and_do_not_stand_for_other_runs() -> None:
    engine = TransformersEngine(policy(), END, deterministic=True)

    async def branching(run: str, seconds: float) -> list[Completion]:
        async with engine.admit():
            await asyncio.sleep(seconds)
            return await asyncio.gather(*(ask(engine, PREFIX, run, seed=seed) for seed in range(3)))

    one, other = await asyncio.gather(branching("one", 0.0), branching("other", 0.1))
    assert engine.statistics.waves == 1
    assert [each.token_ids for each in one] == [each.token_ids for each in other]
    await engine.aclose()


async def test_a_cancelled_request_holds_nobody_up() -> None:
    engine = TransformersEngine(policy(), END, deterministic=True)

    async def patient() -> Completion:
        async with engine.admit():
            return await ask(engine, PREFIX, "patient")

    async def impatient() -> None:
        async with engine.admit():
            await asyncio.sleep(0.05)
            async with asyncio.timeout(0.001):
                await ask(engine, PREFIX, "impatient")

    reply, failure = await asyncio.wait_for(asyncio.gather(patient(), impatient(), return_exceptions=True), 10)
    assert isinstance(reply, Completion)
    assert isinstance(failure, TimeoutError)
    await engine.aclose()


async def test_replies_end_at_the_context_and_full_contexts_are_refused() -> None:
    engine = TransformersEngine(policy(), frozenset(), max_context=len(PREFIX) + 3)
    reply = await ask(engine, PREFIX)
    assert (len(reply.token_ids), reply.finish_reason) == (3, "length")
    with pytest.raises(ContextLengthExceeded, match="53"):
        await ask(engine, [*PREFIX, 1, 2, 3])
    await engine.aclose()


async def test_broken_weights_are_told() -> None:
    model = policy()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    engine = TransformersEngine(model, END)
    with pytest.raises(ModelError, match="not finite"):
        await ask(engine, PREFIX)
    assert not model.training
    await engine.aclose()


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), max_size=12), st.integers(1, 20))
def test_memories_are_found_by_their_longest_prefix_and_stay_within_the_limit(
    transcripts: list[list[int]], limit: int
) -> None:
    memories = Memories(limit)
    kept: dict[tuple[str, str], list[int]] = {}
    for n, ids in enumerate(transcripts):
        run = ("ab"[n % 2], f"run {n % 4}")
        memories.keep(run, ids, torch.tensor(ids).view(1, 1, 1, -1, 1))
        kept.pop(run, None)
        kept[run] = ids
        while sum(map(len, kept.values())) > limit:
            kept.pop(next(iter(kept)))
    for wanted in ([0, 1, 2, 0], [2, 2], [1], [0, 0, 0, 0, 0]):

        def shared(ids: list[int], wanted: list[int] = wanted) -> int:
            return next(
                (n for n, (a, b) in enumerate(zip(ids, wanted[:-1], strict=False)) if a != b),
                min(len(ids), len(wanted) - 1),
            )

        for adapter in "ab":
            best = max((shared(ids) for (other, _), ids in kept.items() if other == adapter), default=0)
            found = memories.longest(wanted, (adapter, "nobody"))
            assert (0 if found is None else found.shape[3]) == best
            assert found is None or found.flatten().tolist() == wanted[:best]


async def test_roles_with_adapters_of_their_own_sample_side_by_side_each_from_its_own() -> None:
    names = ("planner", "solver")
    model = with_adapter(tiny_model(7, 0.4), rank=4, alpha=8, targets="all-linear", seed=0, names=names)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    drawn = {}
    for order in (1, -1):
        engine = TransformersEngine(model, END, deterministic=True)
        asked = [(role, run) for run in ("a", "b", "c") for role in names][::order]
        transcripts = dict.fromkeys(asked, PREFIX)
        for turn in range(2):  # the second goes on from keys and values that were kept
            replies = await asyncio.gather(
                *(ask(engine, transcripts[role, run], run=run, seed=turn, role=role) for role, run in asked)
            )
            for each, reply in zip(asked, replies, strict=True):
                own = completion_logprobs(model, transcripts[each], reply.token_ids, 1.0, each[0])
                assert list(reply.logprobs) == pytest.approx(own, abs=1e-4)
                transcripts[each] = [*transcripts[each], *reply.token_ids, 5]
        drawn[order] = transcripts
        await engine.aclose()
    assert drawn[1] == drawn[-1]
    assert drawn[1]["planner", "a"] != drawn[1]["solver", "a"]


async def test_a_role_without_an_adapter_is_refused() -> None:
    model = with_adapter(tiny_model(7), rank=4, alpha=8, targets="all-linear", seed=0, names=("planner", "solver"))
    engine = TransformersEngine(model, END)
    with pytest.raises(ConfigError, match="asked to play 'boss', and has adapters for planner, solver"):
        await ask(engine, PREFIX, role="boss")
    await engine.aclose()


async def test_an_unexpected_exception_reaches_those_who_wait() -> None:
    engine = TransformersEngine(policy(), END, deterministic=True)
    async with asyncio.timeout(10):
        with pytest.raises(IndexError):
            await ask(engine, [*PREFIX, 10_000])  # no such token
        assert (await ask(engine, PREFIX)).token_ids
    await engine.aclose()
