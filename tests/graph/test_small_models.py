"""What a small planner is asked for by default."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool

from evals.speed.fake_server import FakeModelServer
from graph import Context, build_graph
from graph.models.openai_compatible import OpenAICompatibleChat
from tests.graph.conftest import Serve, passages_tool, plan_text, prompts


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


INVENTED = "```python\nriver = 647\nprint(river * 2)\n```"
RIVER = "How long is the River Arn, in kilometres?"


@pytest.mark.parametrize(("plain_words", "tries"), [(True, 1), (False, 2)])
async def test_a_program_without_facts_is_written_anew_only_where_nothing_can_be_looked_up(
    serve: Serve, plain_words: bool, tries: int
) -> None:
    server = serve(planner=plan_text("python"), executor=INVENTED)
    tools: list[BaseTool | str] = ["python", passages_tool(plain_words=plain_words)]
    context = Context(model=server.spec, checks="on", max_turns=1)
    state = await build_graph(tools=tools).ainvoke({"question": RIVER + " Give 2 digits."}, context=context)
    [turn] = state["memory"]
    assert turn["error"] is not None
    assert turn["error"]["kind"] == "arguments"
    assert len(server.asked("executor")) == tries


@pytest.mark.parametrize(
    ("question", "checks", "recalls"),
    [
        ("What is the plural of mouse?", "on", True),
        ("What is the plural of mouse?", "off", False),
        ("Explain why the plural of mouse is mice.", "on", False),
        ("Was ist die Mehrzahl von Maus?", "on", False),
        ("Which is it?\nA) mice\nB) mouses", "on", False),
    ],
)
async def test_a_small_generator_without_results_first_writes_a_sentence(
    serve: Serve, tools: list[BaseTool], question: str, checks: Any, recalls: bool
) -> None:
    recalled = '{"sentence":"The plural of mouse is mice.","answer":"mice"}'
    server = serve(executor="no call", generator=recalled if recalls else "Answer: mice")
    context = Context(model=server.spec, checks=checks, max_turns=1)
    state = await build_graph(tools=tools).ainvoke({"question": question}, context=context)
    [asked] = server.asked("generator")
    assert ("from your own knowledge: nothing could be" in asked.messages[0]["content"]) == recalls
    assert ("response_format" in asked.body) == recalls
    assert "Results:" not in asked.messages[1]["content"] or not recalls
    assert state["answer"] == state["messages"][-1].content == "mice"


@pytest.mark.parametrize("useless", ['{"sentence":"The plural of mouse is', '{"sentence":"It is mice.","answer":""}'])
async def test_a_sentence_without_an_answer_is_none(serve: Serve, tools: list[BaseTool], useless: str) -> None:
    server = serve(executor="no call", generator=[useless, "Answer: mice"])
    context = Context(model=server.spec, checks="on", max_turns=1)
    state = await build_graph(tools=tools).ainvoke({"question": "What is the plural of mouse?"}, context=context)
    assert ["response_format" in asked.body for asked in server.asked("generator")] == [True, False]
    assert state["answer"] == "mice"


async def test_with_a_result_it_answers_from_that(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(verifier=["no verdict", "no verdict"])
    context = Context(model=server.spec, checks="on", max_turns=1)
    state = await build_graph(tools=tools).ainvoke({"question": "What is 2 * 21?"}, context=context)
    [asked] = server.asked("generator")
    assert "Results:" in asked.messages[1]["content"]
    assert state["answer"] == "42"


async def test_the_form_of_a_recalled_answer_is_not_streamed(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(executor="no call", generator='{"sentence":"The plural of mouse is mice.","answer":"mice"}')
    context = Context(model=server.spec, checks="on", max_turns=1)
    graph = build_graph(tools=tools)
    said = ""
    async for message, metadata in graph.astream(
        {"question": "What is the plural of mouse?"}, context=context, stream_mode="messages"
    ):
        if metadata["langgraph_node"] == "generator":
            said += message.text
    assert said == "mice"
