"""Whole training runs of a tiny model in the real graph: they learn, repeat, validate and accumulate."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file  # type: ignore[import-untyped]
from safetensors.torch import load_file

from evals.task import Task
from evals.view.details import details
from evals.view.library import Library
from graph.errors import ConfigError, DataError, ModelError, ModelUnavailable
from tests.training.support.runs import figures, same, weights
from tests.training.support.tiny_model import tiny_model
from tests.training.support.toy import toy_agent, toy_config, toy_tasks
from training.export.write import export
from training.flow_grpo.__main__ import main
from training.flow_grpo.build import make_trainer
from training.flow_grpo.config import GROUPS, FlowGRPOConfig, load_config
from training.flow_grpo.launch import train
from training.models.policy import with_adapter
from training.rollouts.agents import GraphAgent
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.rewards import make_reward
from training.rollouts.store import read_rollouts
from training.run import checkpoints
from training.run.metrics import read_metrics

torch.set_num_threads(1)

ROOT = Path(__file__).parents[3]
RECIPES = ROOT / "training" / "recipes"


def test_reward_rises_on_a_task_that_a_tiny_model_can_learn(tmp_path: Path, policy_folder: Path) -> None:
    config = toy_config(
        tmp_path,
        policy_folder,
        steps=15,
        lora_rank=0,
        learning_rate=5e-3,
        tasks_per_step=8,
        group_size=8,
        save_every=15,
    )
    train(config)
    rewards = [line["reward"] for line in figures(Path(config.out)) if "reward" in line]
    before, after = sum(rewards[:3]) / 3, sum(rewards[-3:]) / 3
    assert after > 0.7
    assert after > before + 0.25
    [source] = Library([Path(config.out)]).sources  # what people look at it with reads what was written
    assert (len(source.index.rows), source.index.problems) == (15 * 8 * 8, [])
    shown = details(source.index.document(0), source.tokens)
    assert "".join(shown["drawn"][0]["pieces"]).startswith(shown["turns"][0]["reply"][:10])
    first, last = (
        read_metrics(Path(config.out) / "metrics.jsonl")[0],
        read_metrics(Path(config.out) / "metrics.jsonl")[14],
    )
    assert last["tool/shout"] > first["tool/shout"]
    assert first["logprob_gap"] < 1e-5


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, policy_folder: Path) -> Path:
    """Three steps without interruption."""
    folder = tmp_path_factory.mktemp("undisturbed")
    train(toy_config(folder, policy_folder))
    return folder / "run"


def test_a_bad_warm_start_is_told_before_a_model_is_loaded(tmp_path: Path) -> None:
    config = toy_config(tmp_path, Path("no-such-model"), warm_start=str(tmp_path / "missing"))
    with pytest.raises(DataError, match="missing holds no complete checkpoint"):
        make_trainer(config)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").touch()
    (adapter / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 16}')
    config = toy_config(tmp_path, Path("no-such-model"), warm_start=str(adapter))
    with pytest.raises(ConfigError, match="lora_rank 4, and the run 8"):
        make_trainer(config)
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="describes no LoRA adapter"):
        make_trainer(config)
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(ConfigError, match="holds no adapter"):
        make_trainer(config)


def test_one_seed_gives_one_run(undisturbed: Path, tmp_path: Path, policy_folder: Path) -> None:
    train(toy_config(tmp_path, policy_folder))
    assert figures(tmp_path / "run") == figures(undisturbed)
    same(weights(tmp_path / "run" / "final"), weights(undisturbed / "final"))
    other = tmp_path / "other"
    other.mkdir()
    train(toy_config(other, policy_folder, seed=1))
    assert figures(other / "run") != figures(undisturbed)


def test_every_rollout_is_kept_with_its_turns(undisturbed: Path) -> None:
    kept = list(read_rollouts(undisturbed / "rollouts"))
    assert len(kept) == 3 * 4 * 4
    assert {turn.policy_version for rollout in kept for turn in rollout.turns if rollout.step == 2} == {2}


@pytest.mark.parametrize("other", [{"token_budget": 300}, {"packing": "off"}, {"gradient_checkpointing": True}])
def test_batches_do_not_change_the_update(other: dict[str, Any], tmp_path: Path, policy_folder: Path) -> None:
    for name, settings in (("one", {}), ("two", other)):
        (tmp_path / name).mkdir()
        train(toy_config(tmp_path / name, policy_folder, steps=1, learning_rate=1e-3, **settings))
    same(weights(tmp_path / "one" / "run" / "final"), weights(tmp_path / "two" / "run" / "final"), 1e-4)


@pytest.mark.timeout(100)
def test_no_more_rounds_are_drawn_than_there_are_tasks_for(tmp_path: Path, policy_folder: Path) -> None:
    train(toy_config(tmp_path, policy_folder, steps=1, refill=10**9))
    assert (tmp_path / "run" / "final").exists()


def test_several_updates_with_the_same_rollouts_and_refilled_groups(tmp_path: Path, policy_folder: Path) -> None:
    config = toy_config(tmp_path, policy_folder, steps=2, updates_per_step=2, refill=2, lora_rank=0)
    train(config)
    lines = [line for line in figures(tmp_path / "run") if "loss" in line]
    assert [line["update"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["reward"] == lines[1]["reward"]
    assert lines[0]["ratio"] == pytest.approx(1.0)
    assert lines[1]["ratio"] != pytest.approx(1.0, abs=1e-4)
    assert lines[0]["zero_variance"] == 0
    assert [path.name for path in checkpoints.checkpoints(tmp_path / "run")] == ["checkpoint-2", "checkpoint-4"]


def test_a_warm_start_goes_on_from_trained_weights(undisturbed: Path, tmp_path: Path, policy_folder: Path) -> None:
    still = {"steps": 1, "learning_rate": 1e-12, "beta": 0.0}
    config = toy_config(tmp_path, policy_folder, warm_start=str(undisturbed), **still)
    train(config)
    same(weights(tmp_path / "run" / "final"), weights(undisturbed / "final"), 1e-6)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ConfigError, match="lora_rank 8, and the run 4: set lora_rank: 8"):
        train(toy_config(other, policy_folder, warm_start=str(undisturbed), lora_rank=4, **still))
    with pytest.raises(ConfigError, match="other modules than lora_targets 'q_proj': set lora_targets: down_proj,"):
        train(toy_config(other, tmp_path / "no-model", warm_start=str(undisturbed), lora_targets="q_proj", **still))
    narrow = with_adapter(tiny_model(), rank=8, alpha=16, targets="q_proj,v_proj", seed=0)
    narrow.save_pretrained(other / "adapters" / "narrow")  # type: ignore[operator]
    with pytest.raises(ConfigError, match="lora_targets 'all-linear': set lora_targets: q_proj,v_proj"):
        train(toy_config(other, policy_folder, warm_start=str(other / "adapters" / "narrow"), **still))
    with pytest.raises(DataError, match="no complete checkpoint"):
        train(toy_config(other, policy_folder, warm_start=str(tmp_path), **still))
    with pytest.raises(ConfigError, match=r"holds an adapter, and lora_rank 0 trains all weights; .*training\.export"):
        train(toy_config(other, policy_folder, warm_start=str(undisturbed), lora_rank=0, **still))
    export(undisturbed, tmp_path / "merged")
    train(toy_config(other, policy_folder, warm_start=str(tmp_path / "merged"), lora_rank=0, **still))
    same(weights(other / "run" / "final"), load_file(tmp_path / "merged" / "model.safetensors"), 1e-6)


def test_finer_credit_and_easy_tasks_first_make_a_run(tmp_path: Path, policy_folder: Path) -> None:
    lines = [
        {"id": f"t{n}", "question": f"Number {n}", "answers": ["shout"], "metadata": {"difficulty": n}}
        for n in range(16)
    ]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    config = toy_config(tmp_path, policy_folder, credit="rollout_tree", schedule="by_difficulty", steps=4)
    train(config)
    asked = [
        {int(rollout.task.id[1:]) for rollout in read_rollouts(tmp_path / "run" / "rollouts") if rollout.step == step}
        for step in range(4)
    ]
    assert max(asked[0]) < 8
    assert max(asked[3]) >= 8
    with pytest.raises(ConfigError, match="steps"):  # the order of tasks depends on the number of steps
        train(toy_config(tmp_path, policy_folder, credit="rollout_tree", schedule="by_difficulty", steps=6))


def always_right(task: Task, state: Any) -> float:
    return 1.0


def test_a_step_that_is_all_right_goes_on_and_is_told(
    tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"refill": 1, "reward": f"{__name__}:always_right"}
    train(toy_config(tmp_path, policy_folder, steps=1, beta=0.0, **settings))
    [line] = figures(tmp_path / "run")
    assert (line["zero_variance"], line["rollouts"], line["loss"]) == (1.0, 32, 0.0)
    assert "warning: 100% of the groups have rewards without variance" in capsys.readouterr().err


class Troubled(GraphAgent):
    """Of one task all runs but one meet a dead service; of another, the service is dead for all."""

    async def run(self, task: Task, start: Any, policy: PolicyChat, seed: int) -> Any:
        if task.id == "t0" or (task.id == "t1" and not policy.run.endswith("/2")):
            raise ModelUnavailable("The service is gone.")
        return await super().run(task, start, policy, seed)


class Unasked(GraphAgent):
    """Its runs go by without a word from the policy."""

    def turns(self, state: Any, policy: PolicyChat) -> Any:
        return ()


def trained_with(agent: GraphAgent, config: FlowGRPOConfig) -> None:
    trainer = make_trainer(config, agent=agent)
    try:
        trainer.train_from_last_checkpoint()
    finally:
        trainer.close()


def test_groups_that_have_lost_their_runs_are_skipped_and_counted(tmp_path: Path, policy_folder: Path) -> None:
    toy_tasks(tmp_path / "tasks.jsonl", 4)
    config = toy_config(tmp_path, policy_folder, steps=1, attempts=1)
    agent = toy_agent()
    trained_with(Troubled(agent.context, tools=agent.tools), config)
    [line] = figures(tmp_path / "run")
    assert (line["rollouts"], line["failed"], line["failed/unavailable"], line["skipped_groups"]) == (16, 7, 7, 1)
    assert line["loss"] == pytest.approx(line["loss"])
    kept = list(read_rollouts(tmp_path / "run" / "rollouts"))
    assert Counter(rollout.task.id for rollout in kept if rollout.failure) == {"t0": 4, "t1": 3}


class Slow(GraphAgent):
    """Its runs end when their time is over, all with the same answer, but for those of one step."""

    async def run(self, task: Task, start: Any, policy: PolicyChat, seed: int) -> Any:
        state = await super().run(task, start, policy, seed)
        return state if policy.run.startswith("0/") else {**state, "answer": "", "ended_by": "time"}


def test_a_step_whose_runs_all_ran_out_of_time_makes_no_update(tmp_path: Path, policy_folder: Path) -> None:
    agent = toy_agent()
    config = toy_config(tmp_path, policy_folder, steps=2, beta=0.1)
    trained_with(Slow(agent.context, tools=agent.tools), config)
    first, second = figures(tmp_path / "run")
    assert (first.get("skipped_update"), second["skipped_update"]) == (None, 1.0)
    one, other = (weights(tmp_path / "run" / f"checkpoint-{number}") for number in (1, 2))
    assert all(torch.equal(one[name], other[name]) for name in one), "not even by the optimizer's momentum"
    alarms = (tmp_path / "run" / "alarms.jsonl").read_text()
    assert "No update was made: all runs of the step ran out of time" in alarms


def test_a_step_without_a_turn_is_refused(tmp_path: Path, policy_folder: Path) -> None:
    agent = toy_agent()
    with pytest.raises(ModelError, match="The policy was never asked in the 16 rollouts of step 1"):
        trained_with(Unasked(agent.context, tools=agent.tools), toy_config(tmp_path, policy_folder, steps=1))


WANTED = (
    "reward", "reward_std", "reward/outcome", "reward/format", "reward/length", "pass_rate", "turns",
    "completion_tokens", "tool/shout", "rejected_turns", "failed", "entropy", "kl", "clipped_low", "clipped_high",
    "zero_variance", "skipped_groups", "logprob_gap", "importance_truncated", "staleness", "tokens_per_second",
    "seconds/rollout", "seconds/sync", "seconds/update",
)  # fmt: skip


def test_every_figure_goes_to_metrics_and_tensorboard(tmp_path: Path, policy_folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings: dict[str, Any] = {"format_weight": 0.1, "length_weight": 0.1, "report_to": ("tensorboard",)}
    train(toy_config(tmp_path, policy_folder, steps=2, **settings))
    first, second = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [name for name in WANTED if name not in first] == []
    assert second["seconds/checkpoint"] > 0
    terms = sum(first[name] for name in ("reward/outcome", "reward/format", "reward/length"))
    assert first["reward"] == pytest.approx(terms)
    [events] = (tmp_path / "run" / "runs").rglob("events.*")
    known = EventAccumulator(str(events)).Reload()
    assert set(WANTED) <= {tag.removeprefix("train/") for tag in known.Tags()["scalars"]}
    assert [event.step for event in known.Scalars("train/reward")] == [1, 2]


def test_validation_is_logged_before_and_while_training(tmp_path: Path, policy_folder: Path) -> None:
    held_out = tmp_path / "held.jsonl"
    lines = [{"id": f"v{n}", "question": f"Number {n + 50}", "answers": ["shout"]} for n in range(6)]
    held_out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    train(toy_config(tmp_path, policy_folder, steps=2, validation=str(held_out), validation_every=2))
    found = [line for line in figures(tmp_path / "run") if "eval/pass_rate" in line]
    assert [line["update"] for line in found] == [0, 2]
    assert all(line["eval/rollouts"] == 6 for line in found)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lerning_rate", "1"], "Did you mean --learning_rate?"),
        (["--learning_rate", "fast"], "`learning_rate`"),
        (["--steps", "0"], "`steps`"),
        (["--steps"], "--steps: expected one argument"),
        (["steps", "3"], "too much on the command line: steps 3"),
        (["--objective", "vpg"], "choose one of ppo"),
        (["--estimator", "gae"], "choose one of grpo"),
        (["--engine", "vllm"], "deterministic needs engine: transformers"),
        (["--vllm_url", "http://127.0.0.1:9/v1", "--engine", "transformers"], "engine is not vllm"),
        (["--deterministic", "true", "--concurrency", "3"], "concurrency"),
        (["--tasks", "nowhere.jsonl"], "no file of tasks"),
        (["--model", "nowhere/at-all"], "cannot be loaded"),
        (["--model", "nowhere.gguf"], "no GGUF file"),
        (["--agent", "nowhere:at_all"], "cannot be imported: ModuleNotFoundError: No module named"),
        (["--reward", "best"], "no reward 'best'"),
        (["--role", "boss", "--agent", "null"], "no role 'boss'"),
        (["--tasks_per_step", "99"], "only 16"),
        (["--lora_targets", "nothing"], "does not fit"),
        (["--validation", "TASKS", "--validation_every", "1"], "keep them apart"),
        (["--seed", "5"], "holds a run whose seed"),
        (["--config", "nowhere.yaml"], "cannot be read"),
        (["--out", "TASKS_FOLDER"], "is not empty"),
        (["--out", "TASKS"], "cannot be used"),
        (["--config", "TASKS_FOLDER"], "cannot be read"),
        (["--config", "TASKS"], "is not YAML"),
        (["--tasks", "benchmark:trivia"], "choose one of bamboogle"),
        (["--tasks", "hub:someone"], "names no file"),
        (["--steps", "many"], "`steps` is 'many'"),
        (["--dtype", "float16"], "'float32' or 'bfloat16'"),
        (["--group_size", "1"], "`group_size`"),
        (["--max_tokens", "9000"], "max_tokens must be less than max_context"),
        (["--max_seconds", "0.5"], "`max_seconds`"),
        (["--tools", ""], "has an empty value"),
        (["--tools", "[]"], "`tools` is empty"),
        (["--tools", "[1]"], "`tools.0` is 1; it has to be a text"),
        (["--role", "[]", "--agent", "null"], "role is empty"),
        (["--beta", "-1"], "`beta`"),
        (["--clip_low", "2"], "clip_low must be within 0..1"),
        (["--lr_scheduler", "sometimes"], "choose one of linear"),
        (["--report_to", "tensorbord"], "not known; choose from"),
        (["--report_to", "wandb"], "pip install wandb"),
        (["--validation_every", "2"], "validation_every needs validation"),
        (["--validation_limit", "5"], "without validation"),
        (["--replay", "nowhere"], "nowhere holds no rollouts"),
        (["--replay", "nowhere", "--refill", "2"], "replay makes none"),
        (["--reward", "judge:"], "no reward 'judge:'"),
        (["--reward", "tests.training.support.toy:nothing"], "cannot be imported"),
        (["--reward", "tests.training.support.toy:toy_tools"], "must take two arguments"),
        (["--reward", "tests.training.support.toy:NAMES"], "must be a function"),
        (["--agent", "null", "--tools", "pyhton"], "pyhton"),
        (["--agent", "null", "--tools", "local_search"], "corpus"),
        (["--agent", "null", "--tools", "python", "--agent_model", "one of them"], "names no model"),
        (["--agent", "null", "--tools", "python", "--agent_model", "m@http://127.0.0.1:9/v1"], "127.0.0.1:9"),
        (["--agent", "null", "--role", "verifier", "--verify", "rules"], "leaves it without work"),
        (["--agent", "tests.training.support.toy:toy_tools"], "parameters are its roles"),
        (["--agent", "tests.training.support.toy:NAMES"], "is a tuple"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    words: list[str],
    said: str,
    undisturbed: Path,
    policy_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = undisturbed.parent
    config = toy_config(folder, policy_folder)
    settings = folder / "settings.yaml"
    settings.write_text(json.dumps(config.as_dict()))
    tasks = str(folder / "tasks.jsonl")
    words = [{"TASKS": tasks, "TASKS_FOLDER": str(folder)}.get(word, word) for word in words]
    fresh = (
        [] if said.startswith("holds") or "--out" in words else ["--out", str(folder / "fresh" / str(abs(hash(said))))]
    )
    assert main(["--config", str(settings), *fresh, *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert said in told
    assert told.count("\n") == 1
    assert not fresh or not Path(fresh[1]).exists()


def test_held_out_tasks_that_are_trained_on_are_counted_each(tmp_path: Path) -> None:
    tasks = toy_tasks(tmp_path / "tasks.jsonl", 3)
    tasks.write_text(tasks.read_text().replace("Number 2", "Number 1"))
    config = FlowGRPOConfig(
        model="m", out="o", engine="transformers", tasks=str(tasks), validation=str(tasks), validation_every=1
    )
    with pytest.raises(ConfigError, match="3 of the 3 held-out tasks"):
        make_trainer(config)


def test_a_mistake_can_be_mended_in_the_same_folder(
    tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps(toy_config(tmp_path, policy_folder, steps=1).as_dict()))
    assert main(["--config", str(settings), "--lora_targets", "nothing"]) == 2
    assert main(["--config", str(settings)]) == 0
    said = capsys.readouterr().out
    assert "1 update," in said
    assert "seconds: " in said
    assert main(["--config", str(settings), "--lora_targets", "nothing"]) == 2
    assert "holds a run whose lora_targets is 'all-linear'" in capsys.readouterr().err


def test_every_setting_is_told_by_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for item in fields(FlowGRPOConfig):
        assert f"--{item.name} " in told
        assert item.metadata["description"] in told
    assert set(GROUPS) <= {item.name for item in fields(FlowGRPOConfig)}
    assert "(float32 or bfloat16; default: bfloat16)" in told


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_can_be_loaded(recipe: Path) -> None:
    if "distributed_type" in recipe.read_text():  # accelerate's own
        loaded = load_config_from_file(str(recipe))
        assert loaded.distributed_type in ("FSDP", "DEEPSPEED")
    else:
        config = load_config(recipe, {"model": "m", "out": "o", "agent_model": "m@http://127.0.0.1:9/v1"})
        assert config.validation_every
        make_reward(config.reward)


def test_an_unknown_setting_of_a_file_gets_a_suggestion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("lerning_rate: 1")
    assert main(["--config", str(settings), "--show"]) == 2
    assert "no setting 'lerning_rate'. Did you mean learning_rate?" in capsys.readouterr().err


def test_settings_are_shown_before_all_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--show", "--tasks", "t"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# still missing: model, out\n")
    loaded = yaml.safe_load(shown)
    assert (loaded["tasks"], loaded["steps"]) == ("t", 100)
    assert not {"model", "out"} & loaded.keys()


def test_settings_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["--show", "--model", "m", "--out", "o", "--tasks", "t", "--learning-rate", "1e-5", "--tools", "a,b"]) == 0
    )
    shown = capsys.readouterr().out
    assert "learning_rate: 1.0e-05" in shown
    assert "- b" in shown
