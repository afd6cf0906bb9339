"""A tool of your own, with a card that tells the planner when to use it.

    python examples/own_tool.py

All examples use the model that AGENTFLOW_MODEL names, by default the embedded one.
"""

from __future__ import annotations

from langchain_core.tools import StructuredTool, ToolException

from agentflow import Context, ToolCard, build_graph

HIGH_TIDES = {"Port Ellery": "06:12", "Skerry Bay": "07:45"}


def high_tide(harbour: str) -> str:
    """Tell when today's first high tide is in a harbour."""
    if harbour not in HIGH_TIDES:
        raise ToolException(f"There is no harbour {harbour!r}; the harbours are {', '.join(HIGH_TIDES)}.")
    return f"First high tide in {harbour} today: {HIGH_TIDES[harbour]}"


card = ToolCard(
    input="the name of one harbour",
    limitations=("Knows today only.",),
    best_practices=("Ask for one harbour at a time.",),
)
tool = StructuredTool.from_function(high_tide, metadata={"card": card, "time_limit": 5})

graph = build_graph(tools=[tool, "python"])
state = graph.invoke({"question": "When is the first high tide in Port Ellery today?"}, context=Context(max_turns=4))
for turn in state["memory"]:
    print(f"{turn['plan']['tool_name']}: {turn['plan']['sub_goal']}")
print(state["answer"])
