"""What a small planner is asked for by default."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool

from evals.speed.fake_server import FakeModelServer
from graph import Context, build_graph
from graph.models.openai_compatible import OpenAICompatibleChat
from tests.graph.conftest import Serve, prompts


class SmallChat(OpenAICompatibleChat):
    is_small = True


CHAT = [HumanMessage("Who built the bridge?"), AIMessage("John Fowler."), HumanMessage("When was he born?")]


async def planned_by(
    chat: type[OpenAICompatibleChat], server: FakeModelServer, tools: list[BaseTool], given: Any, **settings: Any
) -> list[list[tuple[str, str]]]:
    """The planner's prompts."""
    model, _, address = server.spec.removeprefix("vllm:").partition("@")
    graph = build_graph(tools=tools, models={"planner": chat(model=model, base_url=address)})
    await graph.ainvoke(given, context=Context(model=server.spec, max_turns=1, **settings))
    return prompts(server, "planner")


@pytest.mark.parametrize(("chat", "asked"), [(OpenAICompatibleChat, 1), (SmallChat, 0)])
async def test_a_small_planner_gets_no_analysis_and_justifies_nothing(
    serve: Serve, tools: list[BaseTool], chat: type[OpenAICompatibleChat], asked: int
) -> None:
    server = serve()
    [messages] = await planned_by(chat, server, tools, {"question": "What is 2 * 21?"})
    assert len(server.asked("analyst")) == asked
    assert all(("Justification" in text) == bool(asked) for _, text in messages)
    assert ("these four lines" in messages[0][1], "these three lines" in messages[0][1]) == (bool(asked), not asked)


async def test_a_question_of_a_chat_is_rewritten_for_it(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(analyst="When was John Fowler born?")
    [messages] = await planned_by(SmallChat, server, tools, {"messages": CHAT})
    assert "Analysis: When was John Fowler born?" in messages[-1][1]


async def test_the_settings_win(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    [messages] = await planned_by(SmallChat, server, tools, {"question": "q"}, analyse=True, justify=True)
    assert len(server.asked("analyst")) == 1
    assert "Justification: why this step comes next" in messages[0][1]
    server = serve(analyst="never asked")
    [messages] = await planned_by(OpenAICompatibleChat, server, tools, {"messages": CHAT}, analyse=False, justify=False)
    assert not server.asked("analyst")
    assert "Justification" not in messages[0][1]
