"""A plan's tokens are those that packing makes, its memory that of the weights, its seconds those of its rates."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from graph.errors import ConfigError, DataError
from training.engines.vllm.card import Needs, share_card
from training.flow_grpo.config import FlowGRPOConfig
from training.flow_grpo.lengths import Lengths, tokens_of
from training.flow_grpo.memory import trainer_memory
from training.models import kernels
from training.models.flops import ACCELERATORS, Shape, operations, shape_of
from training.models.policy import with_adapter
from training.models.shapes import config_of
from training.plan.__main__ import main
from training.plan.estimate import Request, plan
from training.plan.seconds import UTILISATION, assumed, seconds_of
from training.run.metrics import MetricsFile
from training.speed.variants import packed
from training.speed.workload import Workload, rows_of, step_of
from training.update.packing import pack

SEVEN = shape_of(config_of("7b"))


def config(**settings: Any) -> FlowGRPOConfig:
    values = {
        "model": "7b", "out": "o", "tasks": "t", "gradient_checkpointing": True, "max_turns": 3,
        "engine": "transformers",
    }  # fmt: skip
    return FlowGRPOConfig(**{**values, **settings})


@pytest.mark.parametrize("budget", [100_000, 60, 45])
def test_tokens_of_a_step_are_those_that_packing_computes(budget: int) -> None:
    work = Workload(groups=3, group_size=4, turns=2, prompt=20, completion=5, observation=4, static=0.0)
    rows = rows_of(step_of(work, 2**31 - 1))
    batches = pack(rows, budget)
    found = tokens_of(Lengths(2, 20, 5, 4), tasks=3, group_size=4, budget=budget)
    assert found.trained == sum(batch.tokens for batch in batches)
    assert found.pairs == pytest.approx(sum(int((batch.position_ids + 1).sum()) for batch in batches), rel=0.05)
    assert found.rows == sum(map(len, rows))
    assert found.sampled == sum(len(row.terms) for row in rows)
    assert found.prompt == sum(20 + 29 for _ in rows)


def test_memory_is_that_of_the_weights_and_of_what_is_trained() -> None:
    adapter = SEVEN.adapter_weights(16)
    lora = trainer_memory(SEVEN, config(lora_rank=16))
    assert lora.weights == 2 * SEVEN.weights + 4 * adapter
    assert (lora.gradients, lora.optimizer) == (4 * adapter, 8 * adapter)
    assert lora.reference == 0
    full = trainer_memory(SEVEN, config(lora_rank=0, beta=0.01))
    assert full.reference == full.weights == full.gradients == full.optimizer / 2 == 2 * SEVEN.weights
    shared = trainer_memory(SEVEN, config(lora_rank=0), sharded_over=4)
    assert shared.optimizer == full.optimizer / 4
    assert shared.activations == full.activations
    assert trainer_memory(SEVEN, config(gradient_checkpointing=False)).activations > 8 * lora.activations
    assert lora.sampler_copy == 2 * adapter
    assert trainer_memory(SEVEN, config(lora_rank=0, overlap=True)).sampler_copy == 2 * SEVEN.weights
    assert lora.kv_cache > 0
    assert trainer_memory(SEVEN, config(engine="vllm", vllm_url="http://x/v1")).kv_cache == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_planned_activations_are_those_that_autograd_keeps(dtype: str) -> None:
    """Of one layer more, so that embeddings and head do not count."""
    work = Workload(groups=1, group_size=2, turns=1, prompt=200, completion=100, observation=1)
    rows = rows_of(step_of(work, 1000))

    def kept(layers: int) -> tuple[float, int, Shape]:
        sizes = config_of("135m")
        sizes.num_hidden_layers, sizes.vocab_size = layers, 1024
        base = AutoModelForCausalLM.from_config(sizes, dtype=getattr(torch, dtype))
        model = with_adapter(base, rank=1, alpha=1, targets="all-linear", seed=0).train()
        [micro_batch] = packed(model, rows, 1000)
        weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
        found: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                found[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            micro_batch.gradient()
        return sum(found.values()), micro_batch.tokens, shape_of(sizes)

    (one, _, _), (two, tokens, shape) = kept(1), kept(2)
    settings = config(dtype=dtype, lora_rank=1, gradient_checkpointing=False, token_budget=tokens)
    planned = [trainer_memory(replace(shape, layers=layers), settings).activations for layers in (1, 2)]
    assert 0.95 < (planned[1] - planned[0]) / (two - one) < 1.2


STEP = tokens_of(Lengths(3, 1000, 100, 100), tasks=8, group_size=8, budget=8192)


def test_guessed_rates_are_the_stated_share_of_the_data_sheet() -> None:
    settings = config()
    device = ACCELERATORS["H100"]
    rates = assumed(SEVEN, device, "H100", settings, STEP, per_engine=64)
    counted = operations(SEVEN, STEP.trained, STEP.pairs, STEP.sampled, lora_rank=16, checkpointing=True)
    assert STEP.trained / rates.update == pytest.approx(counted.model / (UTILISATION * device.operations))
    assert rates.reference > rates.update
    slower = assumed(SEVEN, ACCELERATORS["L4"], "L4", settings, STEP, per_engine=64)
    assert slower.update < rates.update
    assert slower.sampled < rates.sampled
    assert "40%" in rates.source


def test_seconds_add_up_and_more_gpus_shorten_them() -> None:
    settings = config(updates_per_step=2)
    rates = assumed(SEVEN, ACCELERATORS["H100"], "H100", settings, STEP, per_engine=64)
    one = seconds_of(STEP, rates, settings, trainers=1, samplers=1, tool_seconds=0.0)
    assert one.total == pytest.approx(one.rollout + one.reference + one.update)
    assert one.update == pytest.approx(2 * STEP.trained / rates.update)
    assert one.reference == pytest.approx(3 * STEP.trained / rates.reference), "two references, one old policy"
    two = seconds_of(STEP, rates, settings, trainers=2, samplers=2, tool_seconds=0.0)
    assert two.total == pytest.approx(one.total / 2)
    slow = seconds_of(STEP, rates, settings, trainers=1, samplers=1, tool_seconds=1000.0)
    assert slow.rollout == 1000.0
    beside = seconds_of(STEP, rates, config(overlap=True), trainers=1, samplers=1, tool_seconds=1000.0)
    assert beside.total == 1000.0


def a_run(folder: Path) -> Path:
    """The metrics of a run whose second half takes half as long again."""
    file = MetricsFile(folder / "metrics.jsonl")
    for step in range(1, 9):
        slow = 1.0 if step <= 4 else 1.5
        file.append({
            "update": step, "loss": 0.1, "rollouts": 64, "turns": 2.5, "tokens/computed": 20_000, "tokens/rows": 70_000,
            "tokens/trained": 9000, "engine/sampled_tokens": 10_000, "seconds/rollout": 10.0 * slow,
            "seconds/update": 4.0 * slow, "seconds/sync": 0.0,
        })  # fmt: skip
    file.append({"update": 8, "eval/pass_rate": 0.5})
    return folder


def test_a_plan_is_held_against_a_run_and_states_its_error(tmp_path: Path) -> None:
    made = plan(config(), Request(gpus=1), run=a_run(tmp_path))
    assert made["rates"]["update"] == 5000
    assert made["rates"]["sampled"] == 1000
    compared = made["compared_with_run"]
    assert compared["steps"] == 4
    third = pytest.approx(-1 / 3)
    assert compared["rollout"] == {"planned": 10.0, "measured": 15.0, "error": third, "error_of_rates": third}
    assert compared["step"]["planned"] == pytest.approx(14.0)
    twice = plan(config(tasks_per_step=16), Request(gpus=1), run=tmp_path)
    assert twice["compared_with_run"]["update"]["planned"] == pytest.approx(8.0)


def test_all_updates_of_a_step_are_counted(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for step in range(1, 9):
        file.append({
            "update": 2 * step - 1, "rollouts": 64, "turns": 2.0, "tokens/computed": 20_000, "tokens/rows": 70_000,
            "tokens/trained": 9000, "engine/sampled_tokens": 10_000, "seconds/rollout": 10.0, "seconds/update": 3.0,
        })  # fmt: skip
        file.append({"update": 2 * step, "seconds/update": 1.0})
    compared = plan(config(), Request(gpus=1), run=tmp_path)["compared_with_run"]
    assert compared["update"]["measured"] == pytest.approx(4.0)


def test_what_a_plan_could_not_foresee_is_told_apart_from_its_rates(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for step in range(1, 9):
        left = 1.0 if step <= 4 else 0.25  # of the tokens: most groups are all right by then
        file.append({
            "update": step, "rollouts": 64, "turns": 2.0, "tokens/computed": 20_000 * left, "tokens/rows": 70_000,
            "tokens/trained": 9000, "engine/sampled_tokens": 10_000, "seconds/rollout": 10.0,
            "seconds/update": 4 * left,
        })  # fmt: skip
    compared = plan(config(), Request(gpus=1), run=tmp_path)["compared_with_run"]
    assert compared["update"]["error"] == pytest.approx(3.0)
    assert compared["update"]["error_of_rates"] == pytest.approx(0.0)


def test_rates_come_from_a_benchmark_or_a_run(tmp_path: Path) -> None:
    report = {
        "update_tokens_per_second": 100.0, "tokens": {"packed": 600}, "reference_seconds": {"packed": 2.0},
        "phases": {"sampled_tokens_per_second": 50.0},
    }  # fmt: skip
    file = tmp_path / "speed.json"
    file.write_text(json.dumps(report))
    rates = plan(config(), Request(gpus=1), rates=file)["rates"]
    assert (rates["update"], rates["reference"], rates["sampled"]) == (100.0, 300.0, 50.0)
    del report["phases"]
    file.write_text(json.dumps(report))
    with pytest.raises(DataError, match="--phases"):
        plan(config(), Request(gpus=1), rates=file)
    assert plan(config(), Request(gpus=1), rates=a_run(tmp_path))["rates"]["sampled"] == 800


RECIPES = {
    "cpu": ["--gpus", "1", "--gpu", "L4", "--shape", "0.5b", "--model", "m"],
    "cpu_roles": ["--gpus", "1", "--gpu", "L4", "--shape", "0.5b", "--model", "m"],
    "embedded_planner": ["--gpus", "1", "--gpu", "H100", "--shape", "1.5b", "--model", "m"],
    "one_gpu": ["--gpus", "1", "--gpu", "RTX 4090"],
    "one_gpu_7b": ["--gpus", "1", "--gpu", "A100-80GB"],
    "eight_gpus": ["--gpus", "8", "--gpu", "A100-80GB"],
}
"""What each recipe is for, as it says itself."""

FOLDER = Path(__file__).parents[2] / "training" / "recipes"


def test_every_recipe_is_planned_here() -> None:
    launcher = {"fsdp", "deepspeed"}
    assert {path.stem for path in FOLDER.glob("*.yaml")} - launcher == set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_fits_its_machine_by_its_own_plan(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", str(FOLDER / f"{recipe}.yaml"), *RECIPES[recipe]]
    assert main(words) == 0
    shown = capsys.readouterr().out
    for sentence in ("memory of a training GPU", "tokens of a step", "seconds of a step", "data sheet at 40%"):
        assert sentence in shown
    assert ("memory of a serving GPU" in shown) == (recipe == "eight_gpus")
    assert ("memory of the run's own server on the same GPU" in shown) == recipe.startswith(("one_gpu", "embedded"))
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trainers"] == (4 if recipe == "eight_gpus" else 1)


def test_fused_kernels_are_those_of_the_machine_that_is_planned_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", "7b", "--gpus", "1", "--engine", "transformers", "--gradient_checkpointing", "false",
             "--token_budget", "2048", "--json"]  # fmt: skip

    def activations(*more: str) -> float:
        assert main([*words, *more]) == 0
        return float(json.loads(capsys.readouterr().out)["trainer_memory_bytes"]["activations"])

    monkeypatch.setattr(kernels, "is_installed", lambda: False)
    bare, fused = activations(), activations("--kernels")
    assert fused < 0.9 * bare
    monkeypatch.setattr(kernels, "is_installed", lambda: True)  # there is no GPU here
    assert activations() == fused
    assert main(words[:-1]) == 0
    assert "kernels: fused" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["0.5b", "1.5b"])
def test_the_recipe_for_24_gb_fits_both_small_models(size: str) -> None:
    assert main(["--config", str(FOLDER / "one_gpu.yaml"), *RECIPES["one_gpu"], "--model", size]) == 0


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_what_does_not_fit_ends_with_1_and_what_to_change(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "1.5b", "--gpus", "1", "--gpu", "RTX 4090", "--engine", engine, "--token_budget", "65536"]
    assert main(words) == 1
    told = capsys.readouterr()
    assert "DOES NOT FIT" in told.out
    change = told.err.removeprefix("It does not fit. It would with ").removesuffix(".\n").split(", ")
    assert "token_budget: " in told.err
    changed = [part for item in change for part in (f"--{item.partition(': ')[0]}", item.partition(": ")[2])]
    assert main([*words, *changed]) == 0
    assert main(["--model", "7b", "--gpus", "1", "--gpu", "L4", "--lora_rank", "0", "--engine", "transformers"]) == 1
    assert "a smaller model, a larger GPU" in capsys.readouterr().err


GIGA = 2.0**30


def test_trainer_and_server_share_a_gpu_side_by_side_or_in_turns() -> None:
    needs = Needs(
        resident=16 * GIGA, updating=30 * GIGA, weights=15 * GIGA, least_cache=4 * GIGA, wanted_cache=20 * GIGA
    )
    beside = share_card(needs, 80 * GIGA)
    assert (beside.fits, beside.sleeps) == (True, False)
    assert needs.updating + beside.server <= 80 * GIGA
    assert beside.kv_cache > needs.wanted_cache
    turns = share_card(needs, 48 * GIGA)
    assert (turns.fits, turns.sleeps) == (True, True)
    assert needs.resident + turns.server <= 48 * GIGA < needs.updating + turns.server
    assert turns.kv_cache >= needs.least_cache
    assert not share_card(needs, 48 * GIGA, overlap=True).fits, "with overlap it could never sleep"
    assert not share_card(needs, 32 * GIGA).fits
    assert beside.of(80 * GIGA) == beside.server / (80 * GIGA)


def test_a_plan_says_that_the_server_sleeps(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", str(FOLDER / "one_gpu_7b.yaml"), "--gpus", "1", "--gpu", "L40S", "--token_budget", "16384"]
    words += ["--gradient_checkpointing", "true"]
    assert main(words) == 0
    assert "asleep while the trainer updates" in capsys.readouterr().out
    assert main([*words, "--overlap", "true"]) == 1, "with overlap it could never sleep"
    capsys.readouterr()
    assert main([*words[:-4], "--overlap", "true"]) == 0, "smaller micro-batches leave room for both"
    shown = capsys.readouterr().out
    assert "asleep" not in shown
    least, most = (float(text) for text in re.findall(r"([\d.]+) s? ?(?:a step if|if they)", shown))
    assert least < most


@pytest.mark.parametrize(
    ("request_", "settings", "said"),
    [
        (Request(gpus=1, gpu="Abacus"), {}, "no data sheet for the GPU 'Abacus'"),
        (Request(gpus=1), {"engine": "vllm", "vllm_url": "http://x/v1"}, "a GPU to serve and one to train"),
        (Request(gpus=2), {"engine": "vllm"}, "is for one GPU"),
        (Request(gpus=4, serving=2), {}, "--serving is for engine: vllm"),
        (Request(gpus=1), {"model": "mine.gguf"}, "GGUF"),
    ],
)
def test_what_cannot_be_planned_is_told(request_: Request, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan(config(**settings), request_)


def test_a_run_of_one_step_is_too_short_to_compare_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = {"update": 1, "seconds/rollout": 1.0, "tokens/computed": 5}
    MetricsFile(tmp_path / "metrics.jsonl").append(line)
    assert main(["--model", "7b", "--gpus", "1", "--run", str(tmp_path)]) == 2
    assert "at least two" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpus", "0"], "--gpus is 0; it must be at least 1."),
        (["--gpus", "1", "--turns", "nan"], "--turns is nan; it must be a number."),
        (["--gpus", "1", "--turns", "1e300"], "--turns is 1e300; it must be at most 4,294,967,295."),
        (["--gpus", "1", "--completion", "-5"], "--completion is -5; it must be at least 1."),
        (["--gpus", "1", "--tool-seconds", "-1"], "--tool-seconds is -1; it must be at least 0."),
    ],
)
def test_numbers_that_cannot_be_are_told(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "7b", *words]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"
