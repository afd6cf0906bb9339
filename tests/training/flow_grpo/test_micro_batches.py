"""Micro-batches by the free memory: the choice for each card, what is kept, what happens when memory runs out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from hypothesis import assume, given
from hypothesis import strategies as st

from graph.errors import ConfigError
from tests.training.support.runs import figures, same, weights
from tests.training.support.tiny_model import tiny_model
from tests.training.support.toy import toy_config
from training.engines.vllm.card import USABLE
from training.flow_grpo import micro_batches
from training.flow_grpo.config import FlowGRPOConfig
from training.flow_grpo.launch import train
from training.flow_grpo.lengths import usual_lengths
from training.flow_grpo.memory import shared_memory, trainer_memory
from training.flow_grpo.micro_batches import BUDGETS, Room, chosen, lowered, settled
from training.flow_grpo.update_memory import UpdateMemory
from training.models import device
from training.models.flops import ACCELERATORS, Shape, known_shape
from training.models.shapes import config_of
from training.run.metrics import read_metrics
from training.speed.variants import make_model, packed
from training.speed.workload import Options, rows_of, step_of
from training.update import gradient

torch.set_num_threads(1)

GIB = 2**30


def config(**settings: Any) -> FlowGRPOConfig:
    values = {"model": "m", "out": "o", "tasks": "t", "engine": "vllm", "tasks_per_step": 16, "max_turns": 3}
    return FlowGRPOConfig(**{**values, "max_context": 4096, **settings})


def shape(name: str) -> Shape:
    found = known_shape(config_of(name))
    assert found is not None
    return found


def card(name: str) -> Room:
    return Room(name, ACCELERATORS[name].memory, gpu=True)


@pytest.mark.parametrize(
    ("model", "gpu", "engine", "budget", "recomputes"),
    [
        ("0.5b", "L4", "vllm", 8192, False),
        ("0.5b", "H100", "vllm", 16384, False),
        ("1.5b", "RTX 4090", "vllm", 8192, True),
        ("1.5b", "L40S", "vllm", 8192, False),
        ("1.5b", "RTX 4090", "transformers", 16384, True),
        ("3b", "A100-40GB", "vllm", 16384, True),
        ("3b", "H200", "vllm", 16384, False),
        ("7b", "H100", "vllm", 16384, True),  # what activations took, the server's cache would lack
        ("7b", "H100", "transformers", 4096, False),
        ("7b", "H200", "vllm", 8192, False),
        ("7b", "L4", "vllm", 2048, True),  # does not fit: the smallest there is
    ],
)
def test_a_card_gets_the_fastest_choice_that_fits(
    model: str, gpu: str, engine: str, budget: int, recomputes: bool
) -> None:
    made = chosen(config(engine=engine), shape(model), card(gpu))
    assert (made.token_budget, made.gradient_checkpointing) == (budget, recomputes)


@given(
    memory=st.floats(8, 200),
    model=st.sampled_from(["0.5b", "1.5b", "7b"]),
    engine=st.sampled_from(["vllm", "transformers"]),
    overlap=st.booleans(),
    rank=st.sampled_from([0, 16]),
)
def test_what_is_chosen_fits_wherever_anything_does(
    memory: float, model: str, engine: str, overlap: bool, rank: int
) -> None:
    assume(engine != "vllm" or rank)  # else the server would need a GPU of its own
    room, of = Room("any", memory * GIB, gpu=True), shape(model)

    def fits(choice: FlowGRPOConfig) -> bool:
        needs = trainer_memory(of, choice)
        if engine == "vllm":
            return shared_memory(of, choice, needs, room.free, usual_lengths(choice).transcript)[1].fits
        return needs.total <= USABLE * room.free

    asked = config(engine=engine, overlap=overlap, lora_rank=rank)
    made = chosen(asked, of, room)
    smallest = chosen(asked, of, Room("none", 0.0, gpu=True))
    assert (smallest.budget, smallest.recomputes) == (BUDGETS[0], True)
    assert fits(made) or not fits(smallest)
    assert chosen(made, of, room) == made


def test_a_value_that_is_given_wins() -> None:
    made = chosen(config(token_budget=3000), shape("7b"), card("H100"))
    assert (made.budget, made.recomputes) == (3000, False)
    made = chosen(config(gradient_checkpointing=False), shape("7b"), card("H100"))
    assert not made.recomputes
    for values in ({"token_budget": 0}, {"token_budget": "large"}, {"gradient_checkpointing": "sometimes"}):
        with pytest.raises(ConfigError, match=next(iter(values))):
            config(**values)


def test_a_cpu_has_the_usual_values_where_they_fit_and_a_deterministic_run_has_them_everywhere() -> None:
    plain, of = config(engine="transformers"), shape("0.5b")
    roomy, tight = Room("CPU", 64 * GIB, gpu=False), Room("CPU", 11 * GIB, gpu=False)
    assert chosen(plain, of, roomy) == micro_batches.with_usual(plain)
    assert chosen(plain, of, tight) != micro_batches.with_usual(plain)
    settings = config(engine="transformers", deterministic=True)
    assert chosen(settings, of, tight) == micro_batches.with_usual(settings)
    assert settled(plain, None, tight) == micro_batches.with_usual(plain), "of an unknown shape nothing can be planned"


def test_a_run_keeps_its_choice_on_the_same_device(tmp_path: Path) -> None:
    asked, of = config(out=str(tmp_path)), shape("7b")
    first = settled(asked, of, card("H200"))
    micro_batches.keep(first, card("H200"))
    less = Room("H200", 40 * GIB, gpu=True)
    assert settled(asked, of, less) == first
    assert settled(asked, of, card("H100")).recomputes
    assert settled(config(out=str(tmp_path), token_budget=1000), of, less).budget == 1000
    for text in (
        '{"device": "H200"}',
        '{"device": "H200", "token_budget": -1, "gradient_checkpointing": true}',
        "torn",
    ):
        (tmp_path / micro_batches.FILE).write_text(text)
        assert settled(asked, of, card("H200")) == first


def test_recomputing_comes_before_smaller_budgets_and_given_values_stay() -> None:
    room = card("H100")
    first = config(token_budget=8192, gradient_checkpointing=False)
    second = lowered(first, room)
    assert second is not None
    assert (second.budget, second.recomputes) == (8192, True)
    third = lowered(second, room)
    assert third is not None
    assert (third.budget, third.recomputes) == (4096, True)
    assert lowered(first, Room("H100", 1.0, gpu=True, settings=())) is None
    assert lowered(config(token_budget=micro_batches.SMALLEST, gradient_checkpointing=True), room) is None


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Lets the loss run out of memory at some of its calls, counted from 1."""

    def fail(*at: int) -> list[int]:
        calls: list[int] = []
        true = gradient.policy_loss

        def policy_loss(*arguments: Any) -> Any:
            calls.append(len(calls) + 1)
            if calls[-1] in at:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return true(*arguments)

        monkeypatch.setattr(gradient, "policy_loss", policy_loss)
        return calls

    return fail


def trained(folder: Path, model: Path, **settings: Any) -> FlowGRPOConfig:
    folder.mkdir()
    made = toy_config(folder, model, **settings)
    train(made)
    return made


@pytest.mark.parametrize(
    ("settings", "usual", "fails_at", "words", "tolerance"),
    [
        ({}, 8192, 1, "with gradient checkpointing", 0.0),
        ({"gradient_checkpointing": False}, 8192, 1, "with a token budget of 4,096", 0.0),
        # The second of several micro-batches, where the log-probabilities before the step's first update are kept.
        ({"gradient_checkpointing": True, "updates_per_step": 2, "beta": 0.0}, 600, 4, "a token budget of 300", 1e-6),
    ],
)
def test_an_update_that_runs_out_of_memory_is_made_again(
    settings: dict[str, Any],
    usual: int,
    fails_at: int,
    words: str,
    tolerance: float,
    tmp_path: Path,
    policy_folder: Path,
    failing: Callable[..., list[int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("training.flow_grpo.config.USUAL_BUDGET", usual)
    monkeypatch.setattr(micro_batches, "SMALLEST", 300)
    settings = {"steps": 2, "learning_rate": 1e-3, **settings}
    plain = trained(tmp_path / "plain", policy_folder, **settings)
    calls = failing(fails_at)
    capsys.readouterr()
    short = trained(tmp_path / "short", policy_folder, **settings)
    assert len(calls) > 2
    told = capsys.readouterr().err
    assert told.count("Memory ran out in update") == 1
    assert words in told
    same(weights(Path(short.out) / "final"), weights(Path(plain.out) / "final"), tolerance)
    kept = json.loads((Path(short.out) / micro_batches.FILE).read_text())
    assert kept != json.loads((Path(plain.out) / micro_batches.FILE).read_text())
    steps = figures(Path(short.out))
    assert [line["update"] for line in steps] == [line["update"] for line in figures(Path(plain.out))]
    told_memory = [line for line in read_metrics(Path(short.out) / "metrics.jsonl") if line["memory/peak_gib"] > 0]
    assert all(line["memory/planned_gib"] > 0 for line in told_memory)
    assert len(told_memory) == len(steps)


def test_the_second_time_the_run_ends_with_what_to_change_and_goes_on_with_what_it_had(
    tmp_path: Path, policy_folder: Path, failing: Callable[..., list[int]]
) -> None:
    made = toy_config(tmp_path, policy_folder, steps=2)
    failing(2, 3)
    with pytest.raises(
        ConfigError, match=r"over 8192 tokens; set a smaller token_budget, e.g. 4096, or take a smaller"
    ):
        train(made)
    assert json.loads((Path(made.out) / micro_batches.FILE).read_text())["gradient_checkpointing"] is True
    failing()
    train(made)
    assert len(figures(Path(made.out))) == 2


def test_given_values_are_not_lowered(tmp_path: Path, policy_folder: Path, failing: Callable[..., list[int]]) -> None:
    failing(1)
    with pytest.raises(
        ConfigError, match=r"set gradient_checkpointing: true, or set a smaller token_budget, e\.g\. 2000"
    ):
        train(toy_config(tmp_path, policy_folder, token_budget=4000, gradient_checkpointing=False))
    assert not (tmp_path / "run" / micro_batches.FILE).exists()


def test_a_plan_that_was_far_too_low_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    PartialState(cpu=True)
    memory = UpdateMemory(config(engine="transformers"), tiny_model(0), Room("G", GIB, True), torch.device("cuda"))
    monkeypatch.setattr("training.flow_grpo.update_memory.peak_memory", lambda device: 0)
    planned = memory.figures()["memory/planned_gib"]
    assert caplog.text == ""
    monkeypatch.setattr("training.flow_grpo.update_memory.peak_memory", lambda device: int(1.2 * planned * GIB))
    for _ in range(2):
        assert memory.figures()["memory/peak_gib"] == pytest.approx(1.2 * planned)
    assert caplog.text.count("where the plan expected") == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("recomputes", [True, False])
def test_an_update_on_a_gpu_takes_the_memory_that_is_planned(recomputes: bool) -> None:
    options = Options(model="0.5b", device="cuda", prompt=1000, completion=100, token_budget=5000)
    model = make_model("0.5b", "cuda", torch.bfloat16, checkpointing=recomputes)
    work = max(packed(model, rows_of(step_of(options.workload, 1000)), options.budget), key=lambda work: work.tokens)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work.gradient()
    settings = config(vllm_url="http://x/v1", lora_rank=16, token_budget=work.tokens, gradient_checkpointing=recomputes)
    planned = trainer_memory(shape("0.5b"), settings)
    measured = torch.cuda.max_memory_allocated()
    assert 0.6 * planned.total < measured + planned.optimizer < 1.05 * planned.total


def test_a_container_has_the_memory_of_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(device, "_CONTROL_GROUP", tmp_path)
    free, total = device.memory_of(cpu)
    assert 0 < free <= total
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 400\n")
    assert device.memory_of(cpu) == (2400, 3000)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert device.memory_of(cpu) == (1200, 1500)
    (tmp_path / "memory.max").write_text("max\n")
    assert device.memory_of(cpu)[1] == total // 2
