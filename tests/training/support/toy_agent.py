"""A `create_agent` that a tiny model can run: two tools look alike, and the one that shouts is always right."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from langchain.agents import create_agent

from tests.training.support.tiny_model import tiny_model, tiny_tokenizer
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

    torch.manual_seed(0)
    model, tokenizer = tiny_model(seed=4, spread=0.05).train(), tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    chat, tools = ChatTokens(tokenizer), ToolSet((convert_to_openai_tool(double), convert_to_openai_tool(shout)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    chance = random.Random(0)
    for _ in range(steps):
        loss = torch.zeros(())
        for _ in range(2):
            name = chance.choice(NAMES)
            messages = [Message("system", PROMPT), Message("user", f"Number {chance.randrange(100)}")]
            called = Message("assistant", calls=(ToolCall(name, {"text": "x"}, "c0"),))
            result = Message("tool", name, name=name, call_id="c0")
            for reply, more in ((call_text(name), [called, result]), (name, [])):
                prompt, _ = chat.prompt(messages, tools)
                said = [*chat.encoded(reply), chat.end_of_turn]
                labels = torch.tensor([[-100] * len(prompt) + said])
                loss = loss + model(input_ids=torch.tensor([prompt + said]), labels=labels).loss / 4
                messages += more
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
