"""The graph as a module variable, for `langgraph dev` and the platform."""

from __future__ import annotations

from graph.build import build_graph

graph = build_graph()
