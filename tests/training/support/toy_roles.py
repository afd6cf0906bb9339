"""An agent of two roles that a tiny model can run: each says one of two words, and each has another right one.

The planner's right word is `shout`; only then is the solver asked, whose right word is `double`.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Literal, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph

from evals.task import Task
from tests.training.support.taught import Pairs, taught
from tests.training.support.toy import toy_tasks
from training.flow_grpo.config import FlowGRPOConfig
from training.rollouts.chat_tokens import ChatTokens

MAKE = f"{__name__}:make"
REWARD = f"{__name__}:reward"
WORDS = ("double", "shout")
PROMPTS = {"planner": "Plan.", "solver": "Solve."}


class State(TypedDict, total=False):
    question: str
    planned: str
    answer: str


def make(planner: Any, solver: Any) -> Any:
    async def plan(state: State) -> dict[str, str]:
        reply = await planner.ainvoke([SystemMessage(PROMPTS["planner"]), HumanMessage(state["question"])])
        return {"planned": str(reply.content)}

    async def solve(state: State) -> dict[str, str]:
        reply = await solver.ainvoke([SystemMessage(PROMPTS["solver"]), HumanMessage(state["question"])])
        return {"answer": str(reply.content)}

    def then(state: State) -> Literal["solve", "__end__"]:
        return "solve" if state["planned"] == "shout" else END

    graph = StateGraph(State)
    graph.add_node("plan", plan)
    graph.add_node("solve", solve)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", then)
    return graph.compile()


def reward(task: Task, state: Any) -> float:
    return 0.5 * (state.get("planned") == "shout") + 0.5 * (state.get("answer") == "double")


def speaking_policy(path: Path, steps: int = 60) -> Path:
    """A tiny model that has learned to say one of the words, at random, whoever it plays."""

    def pairs(chance: random.Random, chat: ChatTokens) -> Pairs:
        return [
            (chat.opening([("system", system), ("user", f"Number {chance.randrange(100)}")]), chat.encoded(word))
            for system in PROMPTS.values()
            for word in WORDS
        ]

    return taught(path, steps, pairs)


def roles_config(folder: Path, model: Path, **settings: object) -> FlowGRPOConfig:
    """A run of both roles with an adapter each; half a second a step."""
    tasks = folder / "tasks.jsonl"
    values: dict[str, object] = {
        "model": str(model), "out": str(folder / "run"), "tasks": str(tasks if tasks.exists() else toy_tasks(tasks)),
        "agent": MAKE, "role": ("planner", "solver"), "policies": "per_role", "reward": REWARD, "dtype": "float32",
        "steps": 3, "tasks_per_step": 4, "group_size": 6, "max_tokens": 8, "learning_rate": 1e-2, "lora_rank": 8,
        "lora_alpha": 16, "deterministic": True,
    }  # fmt: skip
    return FlowGRPOConfig(**{**values, **settings})  # type: ignore[arg-type]
