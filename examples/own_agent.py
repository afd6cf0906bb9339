"""An agent of your own, ready to be trained: a function from a chat model to a LangGraph graph.

    python examples/own_agent.py                 # writes order-tasks.jsonl and order-heldout.jsonl
    cd examples && python -m training.flow_grpo --agent own_agent:make --model Qwen/Qwen2.5-0.5B-Instruct \\
        --tasks ../order-tasks.jsonl --validation ../order-heldout.jsonl --validation_every 10 --out ../runs/orders

The shop knows its prices and nothing else does, so an answer is right only if the tools were used. See
docs/training-your-agent.md.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel

PRICES = {"pear": 3, "plum": 4, "fig": 7, "quince": 9, "melon": 12, "lemon": 2}


def price(article: str) -> str:
    """The price of one piece of an article."""
    return str(PRICES[article]) if article in PRICES else f"There is no {article!r}; there are {', '.join(PRICES)}."


def multiply(a: int, b: int) -> int:
    """The product of two numbers."""
    return a * b


def make(model: BaseChatModel) -> Any:
    """The agent. `model` is the policy while it is trained, and any chat model afterwards."""
    prompt = "You answer customers of a shop. Look prices up, compute with the tool, and answer with the number alone."
    return create_agent(model, [price, multiply], system_prompt=prompt)


def tasks(count: int, *, held_out: bool) -> list[dict[str, Any]]:
    """Questions with their answers; held-out ones are about other numbers."""
    chance = random.Random(held_out)
    lines = []
    for number in range(count):
        article, pieces = chance.choice(list(PRICES)), chance.randrange(21, 40) if held_out else chance.randrange(2, 21)
        question = f"What do {pieces} pieces of the article {article} cost?"
        steps = [{"tool": "price", "input": article}, {"tool": "multiply", "result": str(pieces * PRICES[article])}]
        line = {"id": f"{'held' if held_out else 'train'}-{number}", "question": question, "metadata": {"steps": steps}}
        lines.append(line | {"answers": [str(pieces * PRICES[article])]})
    return lines


def main() -> None:
    """Writes the files of tasks."""
    for name, count, held_out in (("order-tasks", 96, False), ("order-heldout", 40, True)):
        path = Path(f"{name}.jsonl")
        path.write_text("".join(json.dumps(line) + "\n" for line in tasks(count, held_out=held_out)), encoding="utf-8")
        sys.stdout.write(f"{path}: {count} questions\n")


if __name__ == "__main__":
    main()
