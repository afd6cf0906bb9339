"""Well-known agents, unchanged, for one step of training: every call is captured, and every sampled token trained.

A tiny model writes noise, which no agent can read. So each agent runs twice: with the model's own samples, and with a
script that makes it use its tools, workers and branches. The script's replies are samples like any other: their
log-probabilities are the model's, and the update has to find the same ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from evals.task import Task
from tests.training.support import known_agents
from tests.training.support.scripted_engine import ScriptedEngine
from tests.training.support.templates import template_tokenizer
from tests.training.support.tiny_model import tiny_model
from tests.training.support.toy import toy_tasks
from training.engines.base import Completion, Sampling
from training.flow_grpo.build import make_trainer
from training.flow_grpo.config import FlowGRPOConfig
from training.rollouts.records import Rollout, seed_from
from training.rollouts.store import read_rollouts
from training.run.metrics import read_metrics
from training.update.logprobs import completion_logprobs

CONTEXT = 32768


def by_chance(task: Task, state: Mapping[str, Any]) -> float:
    """A reward that differs between runs, however little they say."""
    return seed_from(str(state["answer"]), str(state["memory"])) % 100 / 100


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that knows tools."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model(spread=0.05, context=CONTEXT).save_pretrained(folder)
    tokenizer = template_tokenizer("qwen2_5")
    tokenizer.save_pretrained(folder)
    return folder


class ScoredScript(ScriptedEngine):
    """Replies by a script, with the log-probabilities that the model gives them."""

    max_context = CONTEXT

    def __init__(self, script: Any) -> None:
        super().__init__(script, "qwen2_5")
        self._model = tiny_model(spread=0.05, context=CONTEXT)

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, *, seed: int, run: str) -> Completion:
        drawn = await super().generate(prompt_ids, sampling, seed=seed, run=run)
        logprobs = completion_logprobs(self._model, prompt_ids, drawn.token_ids, sampling.temperature)
        return Completion(drawn.token_ids, tuple(logprobs), drawn.finish_reason, drawn.policy_version)


def trained(
    name: str, folder: Path, model: Path, *, script: bool, **settings: Any
) -> tuple[list[Rollout], dict[str, float]]:
    """One step: the rollouts and the figures."""
    config = FlowGRPOConfig(
        **{
            "agent": f"{known_agents.__name__}:{name}", "model": str(model), "out": str(folder / "run"),
            "tasks": str(toy_tasks(folder / "tasks.jsonl")), "reward": f"{__name__}:by_chance", "dtype": "float32",
            "steps": 1, "tasks_per_step": 1, "group_size": 3, "max_context": CONTEXT, "token_budget": CONTEXT,
            "max_tokens": 400 if script else 24, "lora_rank": 4, "learning_rate": 1e-2, "engine": "transformers",
            **settings,
        }
    )  # fmt: skip
    engine = ScoredScript(getattr(known_agents, f"{name}_script")) if script else None
    trainer = make_trainer(config, engine=engine)
    try:
        trainer.train_from_last_checkpoint()
    finally:
        trainer.close()
    [line] = [line for line in read_metrics(folder / "run/metrics.jsonl") if "loss" in line]
    return list(read_rollouts(folder / "run/rollouts")), line


NEEDED: dict[str, dict[str, Any]] = {
    "tool_agent": {},
    "plan_and_execute": {"agent_input": "input", "agent_answer": "response"},
    "supervisor": {},
    "branches": {},
    "summarising": {"agent_config": {"recursion_limit": 60}},
    "deep": {"agent_config": {"recursion_limit": 60}, "group_size": 2},  # prompts of thousands of tokens
}
"""What had to be set for each, beside the agent's name (docs/training-your-agent.md)."""

PACKAGES = {"supervisor": "langgraph_supervisor", "deep": "deepagents"}

CALLS = {"tool_agent": 2, "plan_and_execute": 6, "supervisor": 7, "branches": 5, "summarising": 4, "deep": 5}
"""Calls of the policy in a run by the script."""


REWRITTEN = {"summarising", "supervisor"}
"""Agents whose histories show replies in another context than they were sampled in."""


@pytest.mark.parametrize(("name", "script"), [*itertools.product(NEEDED, (True, False))])
def test_one_step_of_training(name: str, script: bool, tmp_path: Path, model_folder: Path) -> None:
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    rollouts, figures = trained(name, tmp_path, model_folder, script=script, **NEEDED[name])
    assert len(rollouts) == NEEDED[name].get("group_size", 3)
    assert not any(rollout.failure for rollout in rollouts)
    turns = [turn for rollout in rollouts for turn in rollout.turns]
    assert figures["tokens/trained"] == sum(len(turn.completion_ids) for turn in turns) > 0
    assert figures["grad_norm"] > 0
    assert figures["logprob_gap"] < 1e-4, "what was trained is what was sampled, after what was sent"
    if script:
        assert {rollout.ended_by for rollout in rollouts} == {"agent"}
        assert all(rollout.answer.startswith("It is ") for rollout in rollouts), [each.answer for each in rollouts]
        assert {len(rollout.turns) for rollout in rollouts} == {CALLS[name]}
        assert figures.get("unreadable_calls", 0) == 0
        assert (figures["rewritten"] > 0) == (name in REWRITTEN)
