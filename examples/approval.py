"""A human is asked before code is run.

    python examples/approval.py

The run pauses at each such call and may be resumed by any process that has the checkpointer, at any time.
"""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agentflow import Context, build_graph


def decide(request: dict[str, Any]) -> bool | str:
    """True allows the calls, a text refuses them and tells the planner why."""
    for arguments in request["calls"]:
        print(request["tool"], *(f"{name}:\n{value}" for name, value in arguments.items()), sep="\n")
    reply = input("Run it? [y/N] ")
    return True if reply.strip().lower() in ("y", "yes") else "The user does not want this to be run."


graph = build_graph(tools=["python"], checkpointer=InMemorySaver())
thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
context = Context(ask_before=("python",), max_turns=3)

state = graph.invoke({"question": "What is the 50th prime number?"}, thread, context=context)
while pending := state.get("__interrupt__"):
    answers = {question.id: decide(question.value) for question in pending}
    state = graph.invoke(Command(resume=answers), thread, context=context)
print(state["answer"])
