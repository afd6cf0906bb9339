"""AgentFlow for applications: everything that most of them need, under a name that no file of theirs bears.

    from agentflow import Context, build_graph

    graph = build_graph(tools=[my_tool, "python"])
    state = graph.invoke({"question": "..."}, context=Context(max_turns=5))
    print(state["answer"])

`graph` is the compiled agent with the built-in tools, made on first access. Each name is imported when it is first
asked for; the packages `graph`, `tools`, `evals` and `training` hold everything else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from _agentflow_shadows import require

require("tools", "graph")

if TYPE_CHECKING:
    from graph import AgentGraph, Context, State, answer_directly, build_graph
    from graph.errors import AgentFlowError
    from tools import ToolCard, load_mcp_tools, load_tool

    graph: AgentGraph

__all__ = [
    "AgentFlowError",
    "AgentGraph",
    "Context",
    "State",
    "ToolCard",
    "answer_directly",
    "build_graph",
    "graph",
    "load_mcp_tools",
    "load_tool",
]

_HOMES = {"AgentFlowError": "graph.errors", "ToolCard": "tools", "load_mcp_tools": "tools", "load_tool": "tools"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'agentflow' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "graph")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
