"""A `create_agent` that a tiny model can run: two tools look alike, and the one that shouts is always right."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from langchain.agents import create_agent

from tests.training.support.taught import Pairs, taught
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.conversation import Message, ToolCall, ToolSet

NAMES = ("double", "shout")
PROMPT = "Use a tool."
TEMPLATE = (
    "{% for t in tools or [] %}{{ t.function.name }}\n{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Calls are bare JSON, and a prompt is short."""


def double(text: str) -> str:
    """Double it."""
    return "double"


def shout(text: str) -> str:
    """Shout it."""
    return "shout"


def make(model: Any) -> Any:
    return create_agent(model, [double, shout], system_prompt=PROMPT)


def call_text(name: str) -> str:
    return f'{{"name": "{name}", "arguments": {{"text": "x"}}}}'


def calling_policy(path: Path, steps: int = 100) -> Path:
    """A tiny model that has learned to call one of the tools, at random, and to say what the tool says."""
    from langchain_core.utils.function_calling import convert_to_openai_tool

    tools = ToolSet((convert_to_openai_tool(double), convert_to_openai_tool(shout)))

    def run(chance: random.Random, chat: ChatTokens) -> Pairs:
        name = chance.choice(NAMES)
        asked = [Message("system", PROMPT), Message("user", f"Number {chance.randrange(100)}")]
        called = Message("assistant", calls=(ToolCall(name, {"text": "x"}, "c0"),))
        told = [*asked, called, Message("tool", name, name=name, call_id="c0")]
        replies = ((asked, call_text(name)), (told, name))
        return [(chat.prompt(messages, tools)[0], chat.encoded(reply)) for messages, reply in replies]

    return taught(path, steps, lambda chance, chat: [*run(chance, chat), *run(chance, chat)], TEMPLATE)
