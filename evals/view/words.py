"""Names that the page shares with the rest: modules as in the graph and the terminal, figures as in the metrics."""

from __future__ import annotations

from graph.state import ROLES

NODES = ("planner", "executor", "verifier", "generator")
"""The graph's nodes, as `langgraph dev` shows them (`graph.build.NODES`, which is not imported: it loads LangGraph)."""

WORDS = {"roles": ROLES, "nodes": NODES}
