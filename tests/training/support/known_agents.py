"""Agents as their tutorials have them, and for each a script of replies that uses all of it.

A script is a function from a prompt's text and a seed to a reply.
"""

from __future__ import annotations

import json
import operator
from typing import Annotated, Any

from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

DONE = "<tool_response>"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def answer(seed: int) -> str:
    return f"It is {seed % 7}."


# create_agent


def tool_agent(model: Any) -> Any:
    return create_agent(model, [add, multiply], system_prompt="Use the tools.")


def tool_agent_script(text: str, seed: int) -> str:
    both = f"{call('add', a=1, b=2)}\n{call('multiply', a=seed % 5, b=2)}"
    return answer(seed) if DONE in text else both


# Plan and execute


class Plan(BaseModel):
    """Plan to follow in future."""

    steps: list[str] = Field(description="Different steps to follow, in sorted order.")


class Act(BaseModel):
    """Action to perform: the steps that are left, or else the response to the user."""

    steps: list[str] = Field(default_factory=list)
    response: str = ""


class PlanExecute(TypedDict):
    input: str
    plan: list[str]
    past_steps: Annotated[list[tuple[str, str]], operator.add]
    response: str


def plan_and_execute(model: Any) -> Any:
    executor = create_agent(model, [add])

    async def plan_step(state: PlanExecute) -> dict[str, Any]:
        prompt = f"For the given objective, come up with a simple plan.\n\n{state['input']}"
        plan = await model.with_structured_output(Plan).ainvoke(prompt)
        return {"plan": plan.steps}

    async def execute_step(state: PlanExecute) -> dict[str, Any]:
        task = state["plan"][0]
        reply = await executor.ainvoke({"messages": [("user", f"You are tasked with: {task}")]})
        return {"past_steps": [(task, reply["messages"][-1].text)]}

    async def replan_step(state: PlanExecute) -> dict[str, Any]:
        prompt = f"Objective: {state['input']}\nUpdate the plan {state['plan']}.\nDone: {state['past_steps']}"
        act = await model.with_structured_output(Act).ainvoke(prompt)
        return {"response": act.response} if act.response else {"plan": act.steps}

    graph = StateGraph(PlanExecute)
    graph.add_node("planner", plan_step)
    graph.add_node("agent", execute_step)
    graph.add_node("replan", replan_step)
    graph.add_edge(START, "planner")
    graph.add_edge("planner", "agent")
    graph.add_edge("agent", "replan")
    graph.add_conditional_edges("replan", lambda state: END if state.get("response") else "agent", ["agent", END])
    return graph.compile()


def plan_and_execute_script(text: str, seed: int) -> str:
    if "come up with a simple plan" in text:
        return call("Plan", steps=["add", "tell"])
    if "Update the plan" in text:
        return (
            call("Act", steps=["tell"])
            if "Done: [('add'" in text and "'tell'," not in text.split("Done:")[1]
            else call("Act", response=answer(seed))
        )
    return call("add", a=1, b=2) if DONE not in text and "tasked with: add" in text else answer(seed)


# A supervisor with two workers


def supervisor(model: Any) -> Any:
    from langgraph_supervisor import create_supervisor

    adder = create_agent(model, [add], name="adder", system_prompt="You add.")
    multiplier = create_agent(model, [multiply], name="multiplier", system_prompt="You multiply.")
    return create_supervisor([adder, multiplier], model=model, prompt="You manage an adder and a multiplier.")


def supervisor_script(text: str, seed: int) -> str:
    if "You manage" not in text:
        name = "add" if "You add" in text else "multiply"
        return answer(seed) if f"{DONE}\n3" in text or f"{DONE}\n2" in text else call(name, a=1, b=2)
    for worker in ("adder", "multiplier"):
        if f"Successfully transferred to {worker}" not in text:
            return call(f"transfer_to_{worker}")
    return answer(seed)


# Parallel branches


class Jokes(TypedDict):
    question: str
    topics: list[str]
    jokes: Annotated[list[str], operator.add]
    answer: str


def branches(model: Any) -> Any:
    async def topics(state: Jokes) -> dict[str, Any]:
        reply = await model.ainvoke(f"Three topics for: {state['question']}")
        return {"topics": reply.text.split(",")[:3]}

    async def write(state: dict[str, str]) -> dict[str, Any]:
        reply = await model.ainvoke(f"Write about {state['topic']}")
        return {"jokes": [reply.text]}

    async def choose(state: Jokes) -> dict[str, Any]:
        return {"answer": (await model.ainvoke(f"The best of {state['jokes']}")).text}

    graph = StateGraph(Jokes)
    graph.add_node("topics", topics)
    graph.add_node("write", write)  # type: ignore[arg-type]
    graph.add_node("choose", choose)
    graph.add_edge(START, "topics")
    graph.add_conditional_edges(
        "topics", lambda state: [Send("write", {"topic": t}) for t in state["topics"]], ["write"]
    )
    graph.add_edge("write", "choose")
    graph.add_edge("choose", END)
    return graph.compile()


def branches_script(text: str, seed: int) -> str:
    if "Three topics" in text:
        return "figs,figs,plums"
    return f"Draft {seed % 97}" if "Write about" in text else answer(seed)


# A history that is summarised


def summarising(model: Any) -> Any:
    middleware = SummarizationMiddleware(model=model, trigger=("messages", 5), keep=("messages", 2))
    return create_agent(model, [add], system_prompt="Use the tool three times.", middleware=[middleware])


def summarising_script(text: str, seed: int) -> str:
    if "Messages to summarize" in text:
        return f"So far {text.count(DONE)} calls."
    return answer(seed) if "So far" in text and DONE in text else call("add", a=seed % 9, b=2)


# deepagents


def deep(model: Any) -> Any:
    from deepagents import create_deep_agent

    return create_deep_agent(model=model, tools=[add], system_prompt="You are deep.")


def deep_script(text: str, seed: int) -> str:
    if "You are deep" not in text:  # the sub-agent
        return "The sum is 3." if DONE in text else call("add", a=1, b=2)
    done = text.count(DONE)
    todo = call("write_todos", todos=[{"content": "add", "status": "in_progress"}])
    task = call("task", description="Add 1 and 2.", subagent_type="general-purpose")
    return [todo, task, answer(seed)][min(done, 2)]
