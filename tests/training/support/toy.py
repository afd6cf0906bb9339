"""A task that a tiny model can learn in the real graph: two tools look alike, and one of them is always right."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from langchain_core.tools import BaseTool, StructuredTool

from graph import Context
from graph.prompts import StepForm, planner_messages, planner_opening
from tests.training.support.taught import Pairs, taught
from training.flow_grpo.config import FlowGRPOConfig
from training.rollouts.agents import GraphAgent
from training.rollouts.chat_tokens import ChatTokens

NAMES = ("double", "shout")


def double(text: str) -> str:
    """Double it."""
    return "double"


def shout(text: str) -> str:
    """Shout it."""
    return "shout"


def toy_tools() -> list[BaseTool]:
    return [StructuredTool.from_function(function) for function in (double, shout)]


def toy_agent(config: FlowGRPOConfig | None = None) -> GraphAgent:
    context = Context(direct_arguments=True, verify="rules", answer="last_result", analyse=False, max_turns=1)
    return GraphAgent(context, tools=toy_tools())


def toy_tasks(path: Path, count: int = 16, answer: str = "shout") -> Path:
    lines = [{"id": f"t{n}", "question": f"Number {n}", "answers": [answer]} for n in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def toy_policy(path: Path, steps: int = 60, names: Sequence[str] = NAMES) -> Path:
    """A tiny model that has learned the form of a reply and chooses between the tools at random."""

    def pairs(chance: random.Random, chat: ChatTokens) -> Pairs:
        def pair() -> tuple[list[int], list[int]]:
            prompt = opening(chat, f"Number {chance.randrange(100)}")
            return prompt, chat.encoded(f"Tool: {chance.choice(names)}\nInput: x")

        return [pair() for _ in range(4)]

    return taught(path, steps, pairs)


def opening(chat: ChatTokens, question: str) -> list[int]:
    """The planner's first prompt, as the graph makes it."""
    opening = planner_opening(toy_tools(), form=StepForm.DIRECT, can_finish=True, max_turns=1)
    system, asked = planner_messages(opening, {"question": question}, "", 1, form=StepForm.DIRECT)
    return chat.opening([("system", str(system.content)), ("user", str(asked.content))])


def toy_config(folder: Path, model: Path, **settings: object) -> FlowGRPOConfig:
    """A run that takes a second a step."""
    tasks = toy_tasks(folder / "tasks.jsonl") if not (folder / "tasks.jsonl").exists() else folder / "tasks.jsonl"
    values: dict[str, object] = {
        "model": str(model), "out": str(folder / "run"), "tasks": str(tasks), "dtype": "float32", "steps": 3,
        "agent": "tests.training.support.toy:toy_agent", "tasks_per_step": 4, "group_size": 4, "max_tokens": 12,
        "learning_rate": 3e-3, "lora_rank": 8, "lora_alpha": 16, "beta": 0.001, "save_every": 1, "deterministic": True,
    }  # fmt: skip
    return FlowGRPOConfig(**{**values, **settings})  # type: ignore[arg-type]
