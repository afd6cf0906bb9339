"""AgentFlow as a LangGraph application.


    state = graph.invoke({"question": "..."}, context=Context(model="embedded"))
    print(state["answer"])

`graph` is the compiled agent with the default tools; it is made on first access.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from _agentflow_shadows import require

require("tools")

if TYPE_CHECKING:
    from graph.build import build_graph
    from graph.compiled import AgentGraph
    from graph.context import Context
    from graph.direct import answer_directly
    from graph.state import State

    graph: AgentGraph

__all__ = ["AgentGraph", "Context", "State", "answer_directly", "build_graph", "graph"]

_HOMES = {
    "AgentGraph": "graph.compiled",
    "Context": "graph.context",
    "State": "graph.state",
    "answer_directly": "graph.direct",
    "build_graph": "graph.build",
}


def __getattr__(name: str) -> Any:
    if name == "graph":
        from graph.build import build_graph

        value: Any = build_graph()
    elif name in _HOMES:
        import importlib

        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'graph' has no attribute {name!r}")
    globals()[name] = value
    return value
