"""Rollouts that wait for nothing: generation beside tools, the tail of a step, rollouts beside updates."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import StructuredTool
from peft import LoraConfig, get_peft_model

from evals.task import Task
from graph import Context
from graph.errors import ConfigError
from tests.training.support.scripted_engine import ScriptedEngine
from tests.training.support.tiny_model import tiny_model
from tests.training.support.toy import toy_config
from training.engines.base import Completion, Sampling
from training.engines.in_process import TransformersEngine
from training.flow_grpo.build import make_trainer
from training.flow_grpo.launch import train
from training.flow_grpo.trainer import FlowGRPOTrainer
from training.models.policy import twin
from training.rollouts.agents import GraphAgent
from training.rollouts.collector import Collector, CollectorSettings
from training.rollouts.figures import step_metrics
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import Rollout
from training.rollouts.rewards import make_reward
from training.rollouts.store import read_rollouts
from training.run.alarms import Alarms
from training.run.metrics import read_metrics
from training.update.logprobs import attach_scoring

torch.set_num_threads(1)

TASKS = [Task(id=f"t{number}", question=f"Question {number}?", answers=("done",)) for number in range(4)]


class BusyEngine(ScriptedEngine):
    """One completion after another, each taking as long: a sampler with a throughput."""

    def __init__(self, seconds: float) -> None:
        super().__init__(lambda text, seed: "Tool: wait\nInput: x")
        self.seconds = seconds
        self._turn = asyncio.Lock()

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, *, seed: int, run: str) -> Completion:
        async with self._turn:
            await asyncio.sleep(self.seconds)
        return await super().generate(prompt_ids, sampling, seed=seed, run=run)


class TwoSteps:
    """An agent that asks the policy and then waits for a tool, twice."""

    def __init__(self, tool_seconds: float) -> None:
        self.tool_seconds = tool_seconds

    async def prepare(self, task: Task, seed: int) -> Mapping[str, Any]:
        return {"question": task.prompt}

    async def run(self, task: Task, start: Mapping[str, Any], policy: PolicyChat, seed: int) -> Mapping[str, Any]:
        for _ in range(2):
            await policy.ainvoke([SystemMessage("Plan."), HumanMessage(f"{task.prompt} {seed}")])
            await asyncio.sleep(self.tool_seconds)
        return {"answer": "done"}

    def turns(self, state: Mapping[str, Any], policy: PolicyChat) -> Sequence[Any]:
        return policy.turns


def collector(engine: Any, agent: Any, **settings: Any) -> Collector:
    def make_policy(run: str, seed: int) -> PolicyChat:
        return PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(1.0, 32), run=run, seed=seed)

    return Collector(agent, engine, make_policy, make_reward(), CollectorSettings(**{"group_size": 4, **settings}))


class Patience(asyncio.SelectorEventLoop):
    """A loop whose clock shows only what was waited for: computing takes no time, on no machine."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def seconds_of_a_step(engine_seconds: float, tool_seconds: float) -> float:
    async def step() -> float:
        rollouts = await collector(BusyEngine(engine_seconds), TwoSteps(tool_seconds)).collect(0, TASKS)
        assert all(rollout.reward == 1.0 and len(rollout.turns) == 2 for rollout in rollouts)
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=Patience) as runner:
        return runner.run(step())


def test_a_step_takes_as_long_as_the_slower_of_generation_and_tools() -> None:
    assert seconds_of_a_step(0.04, 0.0) == pytest.approx(1.28)  # 32 completions, one after another
    assert seconds_of_a_step(0.0, 0.6) == pytest.approx(1.2)  # two calls, all runs at once
    # The last of the first turns is drawn after 0.64 s, and no tool call delays a completion: they end with 1.28 s.
    assert seconds_of_a_step(0.04, 0.6) == pytest.approx(1.28 + 0.6)


def slow_tool(slow: str) -> StructuredTool:
    async def look(query: str) -> str:
        """Look it up."""
        await asyncio.sleep(0.25 if slow in query else 0.0)
        return "found"

    return StructuredTool.from_function(coroutine=look, name="look")


async def test_stragglers_end_through_their_own_budget_and_earn_what_they_have() -> None:
    """One task's runs go on for many slow turns; the others' end at once."""
    engine = ScriptedEngine(
        lambda text, seed: f"Tool: look\nInput: slow {text.count('slow')}" if "Question 3" in text else "Tool: finish"
    )
    context = Context(
        direct_arguments=True, verify="rules", answer="last_result", analyse=False, max_turns=40, max_seconds=60.0
    )
    made = collector(
        engine, GraphAgent(context, tools=[slow_tool("slow")]), group_size=2, tail_fraction=0.75, tail_seconds=0.4
    )
    rollouts = await made.collect(0, TASKS)
    late = [rollout for rollout in rollouts if rollout.task.id == "t3"]
    assert {rollout.ended_by for rollout in late} == {"time"}
    assert all(len(rollout.memory) < 40 for rollout in late)
    assert all(rollout.hurried and rollout.reward is not None and rollout.turns for rollout in late)
    assert not any(rollout.hurried for rollout in rollouts if rollout.task.id != "t3")
    figures = step_metrics(rollouts, version=0)
    assert figures["hurried"] == 2
    assert figures["failed"] == 0


async def test_what_does_not_end_is_cut_off_counted_and_warned_of() -> None:
    class Hangs(TwoSteps):
        async def run(self, task: Task, start: Mapping[str, Any], policy: PolicyChat, seed: int) -> Mapping[str, Any]:
            state = await super().run(task, start, policy, seed)
            if task.id == "t2":
                await asyncio.Event().wait()
            return state

    made = collector(BusyEngine(0.0), Hangs(0.0), tail_fraction=0.5, tail_seconds=0.2)
    rollouts = await asyncio.wait_for(made.collect(0, TASKS), 30)
    late = [rollout for rollout in rollouts if rollout.failure]
    assert {rollout.task.id for rollout in late} == {"t2"}
    assert {rollout.failure["kind"] for rollout in late if rollout.failure} == {"late"}
    assert all(rollout.reward is None for rollout in late), "what is not known is no reward"
    figures = step_metrics(rollouts, version=0)
    assert figures["failed/late"] == 4
    assert "25% of the rollouts were cancelled" in " ".join(Alarms().check(figures))


async def test_without_a_tail_policy_nobody_is_hurried() -> None:
    rollouts = await collector(BusyEngine(0.0), TwoSteps(0.05)).collect(0, TASKS)
    assert not any(rollout.hurried or rollout.failure for rollout in rollouts)


async def test_an_engine_apart_samples_from_the_last_version_while_weights_change() -> None:
    model: Any = get_peft_model(tiny_model(3), LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    attach_scoring(model)
    model.train()
    engine = TransformersEngine(model, frozenset({2}), apart=True)
    prompt = list(range(10, 40))

    async def ask() -> Completion:
        return await engine.generate(prompt, Sampling(1.0, 6), seed=5, run="a")

    before = await ask()
    assert model.training, "sampling does not switch the trained model's mode"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.mul_(3.0)
    during = await ask()
    assert (during.token_ids, during.policy_version) == (before.token_ids, 0)
    assert list(during.logprobs) == pytest.approx(list(before.logprobs), abs=1e-4)
    await engine.sync(1)
    after = await ask()
    assert after.policy_version == 1
    with torch.no_grad():
        logits = model.eval()(torch.tensor([[*prompt, *after.token_ids]])).logits[0, len(prompt) - 1 : -1]
    expected = logits.log_softmax(-1)[range(len(after.token_ids)), list(after.token_ids)]
    assert list(after.logprobs) == pytest.approx(expected.tolist(), abs=1e-4)
    await engine.aclose()


def test_a_twin_shares_what_is_frozen_and_copies_what_is_trained() -> None:
    model: Any = get_peft_model(tiny_model(3), LoraConfig(r=4, target_modules="all-linear"))
    other = twin(model)
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        assert (one.data_ptr() == two.data_ptr()) == (not one.requires_grad), name
    other.eval()
    assert model.training != other.training or not model.training


def test_the_next_step_is_rolled_out_while_the_last_one_updates(
    tmp_path: Path, policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each update waits until the next step's rollouts are on the disk: it works only if they go on beside it."""
    config = toy_config(tmp_path, policy_folder, deterministic=False, overlap=True, steps=3, save_every=3)
    trainer = make_trainer(config)
    per_step = config.tasks_per_step * config.group_size
    begun: list[int] = []
    accumulate = FlowGRPOTrainer._backward

    def backward(self: FlowGRPOTrainer, loss: torch.Tensor) -> None:
        if self.state.global_step not in begun:
            begun.append(self.state.global_step)
            expected = per_step * min(self.state.global_step + 2, config.steps)
            deadline = time.monotonic() + 200
            while time.monotonic() < deadline and kept() < expected:
                threading.Event().wait(0.02)
            assert kept() == expected
        accumulate(self, loss)

    def kept() -> int:
        folder = Path(config.out) / "rollouts"
        return sum(file.read_text().count("\n") for file in folder.glob("*.jsonl"))

    monkeypatch.setattr(FlowGRPOTrainer, "_backward", backward)
    trainer.train_from_last_checkpoint()
    trainer.close()
    assert begun == [0, 1, 2]
    versions: dict[int, set[int]] = {}
    for rollout in read_rollouts(Path(config.out) / "rollouts"):
        versions.setdefault(rollout.step, set()).update(turn.policy_version for turn in rollout.turns)
    assert versions == {0: {0}, 1: {0}, 2: {1}}, "every rollout is of one policy, one step older than it trains"
    lines = [line for line in read_metrics(Path(config.out) / "metrics.jsonl") if "loss" in line]
    assert [line["staleness"] for line in lines] == [0, 1, 1]
    assert all(line["seconds/waited"] >= 0 for line in lines)


def test_overlap_learns_what_plain_steps_learn(tmp_path: Path, policy_folder: Path) -> None:
    ends = {}
    for name, overlap in (("plain", False), ("overlap", True)):
        folder = tmp_path / name
        folder.mkdir()
        config = toy_config(
            folder, policy_folder, deterministic=False, overlap=overlap, steps=15, save_every=15, lora_rank=0,
            learning_rate=5e-3, tasks_per_step=8, group_size=8,
        )  # fmt: skip
        train(config)
        rewards = [line["reward"] for line in read_metrics(Path(config.out) / "metrics.jsonl") if "reward" in line]
        ends[name] = fmean(rewards[-3:])
        assert ends[name] > fmean(rewards[:2]) + 0.2
    assert abs(ends["plain"] - ends["overlap"]) < 0.2


def test_validation_waits_for_rollouts_under_way_and_a_resumed_run_goes_on(tmp_path: Path, policy_folder: Path) -> None:
    held_out = tmp_path / "held.jsonl"
    held_out.write_text(json.dumps({"id": "v", "question": "Number 99", "answers": ["shout"]}) + "\n")
    settings: dict[str, Any] = {
        "deterministic": False, "overlap": True, "validation": str(held_out), "validation_every": 1, "save_every": 1,
    }  # fmt: skip
    train(toy_config(tmp_path, policy_folder, steps=2, **settings))
    train(toy_config(tmp_path, policy_folder, steps=3, **settings))
    found: dict[int, set[int]] = {}
    for rollout in read_rollouts(tmp_path / "run" / "rollouts"):
        found.setdefault(rollout.step, set()).update(turn.policy_version for turn in rollout.turns)
    assert found == {0: {0}, 1: {0}, 2: {2}}, "after a resume the first step is of the checkpoint's own policy"
    validated = list(read_rollouts(tmp_path / "run" / "validations"))
    assert {rollout.step: {turn.policy_version for turn in rollout.turns} for rollout in validated} == {
        version: {version} for version in range(4)
    }


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"overlap": True}, "deterministic excludes overlap"),
        ({"tail_fraction": 0.9}, "depends on the clock"),
        ({"overlap": True, "deterministic": False, "replay": "somewhere"}, "overlap needs new rollouts"),
        ({"tail_fraction": 1.5, "deterministic": False}, "tail_fraction"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        toy_config(tmp_path, tmp_path, **settings)


def test_old_rollout_files_are_read_without_the_mark() -> None:
    task = TASKS[0]
    plain = Rollout("0/t0/0", task, step=0, index=0, seed=0, reward=1.0).as_dict()
    del plain["hurried"]
    from training.rollouts.records import rollout_from_dict

    assert not rollout_from_dict(plain).hurried
