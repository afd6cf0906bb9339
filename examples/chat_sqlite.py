"""A chat that is kept in a file: run it again, and it knows what was said.

    python examples/chat_sqlite.py
    python examples/chat_sqlite.py "And ten days later?"

Needs `pip install langgraph-checkpoint-sqlite`.
"""

from __future__ import annotations

import sys

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite import SqliteSaver

from agentflow import Context, build_graph

QUESTIONS = ["Which day of the week was 20 July 1969?", "And 100 days later?"]

with SqliteSaver.from_conn_string("chat.sqlite") as checkpointer:
    graph = build_graph(tools=["python"], checkpointer=checkpointer)
    thread: RunnableConfig = {"configurable": {"thread_id": "mine"}}
    known = graph.get_state(thread).values.get("messages", [])
    if known:
        print(f"({len(known)} messages so far)")
    for question in sys.argv[1:] or QUESTIONS:
        print(f"> {question}")
        state = graph.invoke({"messages": [HumanMessage(question)]}, thread, context=Context(max_turns=4))
        print(state["answer"])
