"""Planner and executor of our graph in a world that a tiny model can learn.

The planner chooses between two tools, of which only `shout` passes on what it is told; the executor chooses what it is
told, `yes` or `no`; the answer to every question is `yes`. To compare both with the planner alone, beside an executor
that nobody trains:

    python -m tests.training.support.toy_modules toy
    python -m training.flow_grpo --config toy/both.yaml
    python -m training.flow_grpo --config toy/planner.yaml
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from typing import Any

import yaml
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, StructuredTool

from evals.task import Task
from graph import Context
from tests.training.support.scripted_engine import ScriptedEngine
from tests.training.support.taught import Pairs, taught
from tests.training.support.toy import toy_tasks
from training.engines.base import Sampling
from training.flow_grpo.config import FlowGRPOConfig
from training.rollouts.agents import GraphAgent
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import seed_from

PLANS = ("Tool Name: double", "Tool Name: shout")
CALLS = ('{"text": "no"}', '{"text": "yes"}')
CONTEXT = Context(verify="rules", answer="last_result", analyse=False, max_turns=1, checks="off")


def double(text: str) -> str:
    """Double it."""
    return "double"


def shout(text: str) -> str:
    """Shout it."""
    return text


class Undecided(BaseChatModel):
    """An executor that nobody trains: it says `yes` as often as `no`."""

    @property
    def _llm_type(self) -> str:
        return "undecided"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        chosen = CALLS[seed_from(*(str(message.content) for message in messages), kwargs.get("seed")) % 2]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(chosen))])

    def with_structured_output(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def toy_tools() -> list[BaseTool]:
    return [StructuredTool.from_function(tool) for tool in (double, shout)]


def agent(config: FlowGRPOConfig) -> GraphAgent:
    roles = config.roles or ("planner",)
    frozen = {} if "executor" in roles else {"executor": Undecided()}
    return GraphAgent(CONTEXT, tools=toy_tools(), models=frozen, role=roles)


def asked(question: str, plan: str) -> list[list[int]]:
    """The tokens of what planner and executor are asked when the planner says this."""
    engine = ScriptedEngine(lambda prompt, _: plan if "You choose the next step" in prompt else CALLS[1])
    graph = GraphAgent(CONTEXT, tools=toy_tools(), role=("planner", "executor"))
    task = Task("t", question, ("yes",))
    policy = PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(1.0, 64), run="0/t/0", seed=0)

    async def run() -> None:
        await graph.run(task, await graph.prepare(task, 0), policy, 0)

    asyncio.run(run())
    return [prompt for prompt, _ in engine.sent]


def deciding_policy(path: Path, steps: int = 150) -> Path:
    """A tiny model that knows the form of both roles' replies and chooses at random."""
    known = [[asked(f"Number {number}", plan) for plan in PLANS] for number in range(0, 100, 9)]

    def pairs(chance: random.Random, chat: ChatTokens) -> Pairs:
        return [
            (prompt, chat.encoded(reply))
            for plan, (planner, executor) in zip(PLANS, chance.choice(known), strict=True)
            for prompt, reply in ((planner, plan), (executor, CALLS[0]), (executor, CALLS[1]))
        ]

    return taught(path, steps, pairs)


def modules_config(folder: Path, model: Path, **settings: object) -> FlowGRPOConfig:
    """A run of both roles with an adapter each."""
    tasks = toy_tasks(folder / "tasks.jsonl", answer="yes")
    values: dict[str, object] = {
        "model": str(model), "out": str(folder / "run"), "tasks": str(tasks),
        "agent": "tests.training.support.toy_modules:agent",
        "role": ("planner", "executor"), "policies": "per_role", "dtype": "float32",
        "steps": 3, "tasks_per_step": 8, "group_size": 8, "max_tokens": 40, "learning_rate": 3e-3, "lora_rank": 32,
        "lora_alpha": 32, "deterministic": True,
    }  # fmt: skip
    return FlowGRPOConfig(**{**values, **settings})  # type: ignore[arg-type]


def main(folder: Path) -> None:
    """Writes a policy, tasks and a configuration for each of the two runs."""
    model = deciding_policy(folder / "model")
    for name, roles in (("both", ("planner", "executor")), ("planner", ("planner",))):
        policies = "per_role" if len(roles) > 1 else "shared"
        config = modules_config(folder, model, role=roles, policies=policies, steps=20, out=str(folder / name))
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config.as_dict()), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
