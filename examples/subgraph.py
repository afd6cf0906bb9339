"""The agent as one node of a larger graph.

    python examples/subgraph.py

The nodes around it share `question` and `answer` with the agent and keep the rest to themselves.
"""

from __future__ import annotations

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from agentflow import Context, build_graph


class Letter(TypedDict, total=False):
    """What the larger graph works on."""

    sender: str
    text: str
    question: str
    answer: str
    reply: str


def read(state: Letter) -> Letter:
    """Find the question in the letter."""
    return {"question": next(line for line in state["text"].splitlines() if line.endswith("?"))}


def write(state: Letter) -> Letter:
    """Put the agent's answer into words."""
    return {"reply": f"Dear {state['sender']},\nit is {state['answer']}.\nYours, the office"}


builder = StateGraph(Letter, context_schema=Context)
builder.add_node("read", read)
builder.add_node("agent", build_graph(tools=["python"]))
builder.add_node("write", write)
builder.add_edge(START, "read")
builder.add_edge("read", "agent")
builder.add_edge("agent", "write")
builder.add_edge("write", END)
office = builder.compile()

letter: Letter = {"sender": "Ada", "text": "Good morning,\nWhat is 12 to the power of 5?\nRegards"}
for part in office.stream(letter, context=Context(max_turns=4), stream_mode="updates"):
    print(", ".join(part))
    for update in part.values():
        if "reply" in (update or {}):
            print(update["reply"])
