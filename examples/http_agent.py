"""An agent in no framework, ready to be trained: OpenAI's client, two tools and a loop.

    pip install openai
    python examples/own_agent.py                 # writes order-tasks.jsonl and order-heldout.jsonl
    python -m training.flow_grpo --agent http --agent_command "python examples/http_agent.py" \\
        --model Qwen/Qwen2.5-0.5B-Instruct --tasks order-tasks.jsonl --out runs/orders-http

The training starts it once for each run. Address, key and model come from the environment, as OpenAI's client wants
them, so it asks any other server just as well; the question is in AGENTFLOW_QUESTION, and the answer is what it prints.
See docs/training-your-agent.md.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from openai import OpenAI

PRICES = {"pear": 3, "plum": 4, "fig": 7, "quince": 9, "melon": 12, "lemon": 2}
PROMPT = "You answer customers of a shop. Look prices up, compute with the tool, and answer with the number alone."
MOST_CALLS = 8


def price(article: str) -> str:
    """The price of one piece of an article."""
    return str(PRICES[article]) if article in PRICES else f"There is no {article!r}; there are {', '.join(PRICES)}."


def multiply(a: int, b: int) -> str:
    """The product of two numbers."""
    return str(a * b)


TOOLS = {"price": price, "multiply": multiply}
SCHEMAS: list[Any] = [
    {"type": "function", "function": {"name": name, "description": TOOLS[name].__doc__, "parameters": {
        "type": "object", "properties": {each: {"type": kind} for each in arguments}, "required": arguments}}}
    for name, arguments, kind in (("price", ["article"], "string"), ("multiply", ["a", "b"], "integer"))
]  # fmt: skip


def answer(question: str) -> str:
    """Asks the model until it calls no more tools."""
    client = OpenAI()
    messages: list[Any] = [{"role": "system", "content": PROMPT}, {"role": "user", "content": question}]
    for _ in range(MOST_CALLS):
        reply = client.chat.completions.create(model=os.environ["OPENAI_MODEL"], messages=messages, tools=SCHEMAS)
        message = reply.choices[0].message
        messages.append(message)
        for call in message.tool_calls or ():
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result(call.function)})
        if not message.tool_calls:
            return message.content or ""
    return ""


def result(function: Any) -> str:
    """What a call comes to. A wrong call is the model's mistake, and it is told so."""
    try:
        return str(TOOLS[function.name](**json.loads(function.arguments)))
    except (KeyError, TypeError, ValueError) as error:
        return f"That call failed: {error}."


if __name__ == "__main__":
    question = os.environ.get("AGENTFLOW_QUESTION") or " ".join(sys.argv[1:])
    sys.stdout.write(answer(question) + "\n")
