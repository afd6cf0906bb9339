"""The agent as a tool of another agent."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command
from pydantic import BaseModel, Field

from graph import Context, build_graph
from tests.graph.conftest import Serve, calls_text, plan_text, prompts, verdict_text


@dataclass
class Owner:
    """The context of somebody else's agent."""

    user: str


def asking(tool: BaseTool, *, remembers: bool = False) -> CompiledStateGraph[MessagesState, Owner, MessagesState]:
    builder = StateGraph(MessagesState, Owner)
    builder.add_node("tools", ToolNode([tool]))
    builder.add_edge(START, "tools")
    return builder.compile(checkpointer=InMemorySaver() if remembers else None)


def call(tool: BaseTool, question: str) -> MessagesState:
    asked = {"name": tool.name, "args": {"question": question}, "id": "1", "type": "tool_call"}
    return {"messages": [AIMessage("", tool_calls=[asked])]}


async def test_a_question_is_all_it_takes(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    tool = build_graph(tools=tools).as_tool(context=Context(model=server.spec))
    assert tool.name == "agentflow"
    assert list(tool.args) == ["question"]
    assert tool.invoke({"question": "What is twice 21?"}) == await tool.ainvoke({"question": "What is twice 21?"}) != ""


async def test_another_agent_with_a_context_of_its_own_calls_it(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    tool = build_graph(tools=tools, models=server.spec).as_tool(name="research", description="Looks things up.")
    outer = asking(tool)
    for result in (
        outer.invoke(call(tool, "What is twice 21?"), context=Owner("me")),
        await outer.ainvoke(call(tool, "What is twice 21?"), context=Owner("me")),
    ):
        assert result["messages"][-1].text == tool.invoke({"question": "What is twice 21?"})
    assert all("What is twice 21?" in prompt[-1][1] for prompt in prompts(server, "planner"))


async def test_it_does_not_take_over_the_settings_of_its_caller(serve: Serve, tools: list[BaseTool]) -> None:
    inner, outer = serve(), serve(planner=plan_text("research"), executor=calls_text({"question": "What is twice 21?"}))
    tool = build_graph(tools=tools, models=inner.spec).as_tool(name="research")
    state = await build_graph(tools=[tool]).ainvoke({"question": "q"}, context=Context(model=outer.spec, max_turns=1))
    assert state["memory"][0]["calls"][0]["result"] == "42"


async def test_it_may_take_more_turns_than_a_tool_call_has_steps(serve: Serve, tools: list[BaseTool]) -> None:
    plans = [plan_text("double", f"goal {number}") for number in range(12)]
    server = serve(planner=plans, verifier=[verdict_text(then="go on")] * 11 + [verdict_text()])
    tool = build_graph(tools=tools).as_tool(context=Context(model=server.spec, max_turns=12))
    await asking(tool).ainvoke(call(tool, "q"), context=Owner("me"))
    assert len(prompts(server, "planner")) > 8


async def test_a_human_is_asked_through_the_agent_that_calls_it(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    tool = build_graph(tools=tools).as_tool(context=Context(model=server.spec, ask_before=("double", "shout")))
    outer = asking(tool, remembers=True)
    thread = {"configurable": {"thread_id": "1"}}
    paused = await outer.ainvoke(call(tool, "q"), thread, context=Owner("me"))
    assert paused["__interrupt__"]
    result = await outer.ainvoke(Command(resume=True), thread, context=Owner("me"))
    assert result["messages"][-1].text


async def test_a_larger_graph_may_have_a_context_of_its_own(serve: Serve, tools: list[BaseTool]) -> None:
    builder = StateGraph(MessagesState, Owner)
    builder.add_node("agent", build_graph(tools=tools, models=serve().spec))
    builder.add_edge(START, "agent")
    result = await builder.compile().ainvoke({"messages": [HumanMessage("q")]}, context=Owner("me"))
    assert result["messages"][-1].type == "ai"


def test_other_arguments_can_be_chosen(serve: Serve, tools: list[BaseTool]) -> None:
    class Asked(BaseModel):
        question: str = Field(description="One question.")

    tool = build_graph(tools=tools, models=serve().spec).as_tool(Asked, name="ask")
    assert tool.invoke({"question": "q"})["answer"]
