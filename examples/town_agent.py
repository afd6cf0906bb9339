"""LangChain's `create_agent` over the tools of `training.town`, for experiments in learning several steps.

    python -m training.town --out town
    cd examples && python -m training.flow_grpo --config town_agent.yaml --model PATH.gguf --out ../runs/town-agent

A small model keeps the form of a tool call when it is shown some, and takes a second step when it has seen one. So a
middleware puts example conversations before each run's own; the agent is LangChain's own otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, ModelResponse, wrap_model_call
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from tools import load_tool
from training.town import parish_register, ship_register

PROMPT = """\
Each reply is one tool call, until a tool has returned the answer to the whole question; then reply with that number \
alone. Never guess a number."""

TOOLS = [load_tool("python"), ship_register(), parish_register()]
for tool in TOOLS:
    tool.handle_tool_error = True  # what a tool refuses is told to the model and does not end the run


def _conversation(question: str, *steps: tuple[str, dict[str, str], str]) -> list[AnyMessage]:
    """An example: the question, calls with their results, and the last result as the answer.

    The calls are texts: shown in its template's own form, this model ends its reply at once.
    """
    messages: list[AnyMessage] = [HumanMessage(question)]
    for name, arguments, result in steps:
        messages.append(AIMessage(json.dumps({"name": name, "arguments": arguments})))
        messages.append(ToolMessage(result, tool_call_id="example"))
    return [*messages, AIMessage(steps[-1][2])]


EXAMPLES = [
    *_conversation(
        "How many are 6 times the voyages of Odeka?",
        ("parish_register", {"entry": "Odeka / voyages"}, "14"),
        ("python", {"code": "6 * 14"}, "84"),
    ),
    *_conversation(
        "What is the length of the ship Tolmen plus 9?",
        ("ship_register", {"entry": "Tolmen / length"}, "71"),
        ("python", {"code": "71 + 9"}, "80"),
    ),
    *_conversation(
        "By how many metres is the Tolmen longer than the Arvik?",
        ("ship_register", {"entry": "Tolmen / length"}, "71"),
        ("ship_register", {"entry": "Arvik / length"}, "48"),
        ("python", {"code": "71 - 48"}, "23"),
    ),
]
"""All of several steps: with single steps among them, the untrained model ends each run after its first result."""


@wrap_model_call
async def with_examples(
    request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[ModelResponse]]
) -> ModelResponse:
    """Shows the examples before the conversation; they stay out of the agent's state."""
    return await handler(request.override(messages=[*EXAMPLES, *request.messages]))


def make(model: BaseChatModel) -> Any:
    """The agent around a chat model."""
    return create_agent(model, TOOLS, system_prompt=PROMPT, middleware=[with_examples])
