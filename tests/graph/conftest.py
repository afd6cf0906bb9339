"""The real graph against a real HTTP server whose model is a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.outputs import ChatResult
from langchain_core.tools import BaseTool, StructuredTool, ToolException

from evals.speed.fake_server import ChatReply, ChatRequest, FakeModelServer, Replier
from tools.card import ToolCard

Serve = Callable[..., FakeModelServer]
Override = str | ChatReply | Callable[[ChatRequest], str | ChatReply]


def plan_text(tool: str, goal: str = "find it", context: str = "the facts") -> str:
    return f"Justification: it helps.\nContext: {context}\nSub-Goal: {goal}\nTool Name: {tool}"


def calls_text(*arguments: dict[str, Any]) -> str:
    return json.dumps({"calls": list(arguments)})


def verdict_text(result: str = "accept", then: str = "stop", reason: str = "it is known") -> str:
    return json.dumps({"reason": reason, "result": result, "next": then})


def script(**overrides: Override | list[Override]) -> Replier:
    """Replies by module; a list gives one reply per request and then repeats its last."""
    defaults: dict[str, Override | list[Override]] = {
        "analyst": "A number is asked for.",
        "planner": plan_text("double"),
        "executor": calls_text({"number": 21}),
        "verifier": verdict_text(),
        "generator": "Answer: 42",
        "report": "The answer is 42, because 21 was doubled.",
        "other": "Answer: 7",
    }
    replies = {**defaults, **overrides}
    counts: dict[str, int] = {}

    def reply(request: ChatRequest) -> str | ChatReply:
        made = replies[request.role]
        if isinstance(made, list):
            index = counts.get(request.role, 0)
            counts[request.role] = index + 1
            made = made[min(index, len(made) - 1)]
        return made if isinstance(made, str | ChatReply) else made(request)

    return reply


@pytest.fixture
def serve() -> Iterator[Callable[..., FakeModelServer]]:
    """Start fake model servers that stop with the test."""
    with ExitStack() as stack:

        def start(latency: float = 0.0, **overrides: Override | list[Override]) -> FakeModelServer:
            return stack.enter_context(FakeModelServer(script(**overrides), latency))

        yield start


def double(number: int) -> str:
    """Double a number."""
    if number < 0:
        raise ToolException("only numbers from 0 on can be doubled; drop the sign")
    return str(2 * number)


async def adouble(number: int) -> str:
    return double(number)


double_tool = StructuredTool.from_function(func=double, coroutine=adouble, name="double")


def shout(text: str) -> str:
    """Return a text in capitals."""
    return text.upper()


shout_tool = StructuredTool.from_function(func=shout, name="shout")


@pytest.fixture
def tools() -> list[StructuredTool]:
    return [double_tool, shout_tool]


def prompts(server: FakeModelServer, role: str) -> list[list[tuple[str, str]]]:
    return [[(m["role"], m["content"]) for m in request.messages] for request in server.asked(role)]


def passages_tool(passage: str = "Hong Kong was taken in 1842.", *, plain_words: bool = False) -> BaseTool:
    def look_up(name: str) -> str:
        """Look something up."""
        return f"{name}: Fist Power is a film from Hong Kong." if name == "film" else passage

    card = ToolCard(input="a name", quotes_sources=True, plain_words=plain_words)
    return StructuredTool.from_function(look_up, metadata={"card": card})


def judged(answer: str, missing: str = "nothing") -> str:
    return json.dumps({**json.loads(verdict_text()), "answer": answer, "missing": missing})


class Capturing(GenericFakeChatModel):
    """Captures what it writes, as the policy does in training."""

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        result = super()._generate(*args, **kwargs)
        message = result.generations[0].message
        message.additional_kwargs["captured"] = {"text": message.text}
        return result


TAKEN = "When was the country that produced Fist Power taken?"
