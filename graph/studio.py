"""What `langgraph dev` and the platform load: they read a module's variables, so here the graph is one."""

from __future__ import annotations

from graph.build import build_graph

graph = build_graph()
