"""The graph that is served: a module variable for `langgraph dev` and the platform.

The server's clients make the contexts of its runs, so they may not name what only the operator may choose
(`graph.limits`). He configures the agent by environment variables: the models as everywhere, AGENTFLOW_TOOLS and
AGENTFLOW_CORPUS as for the command line. AGENTFLOW_TRUST_CONTEXT=1 lets every client name anything, and so run code.
"""

from __future__ import annotations

import os

from graph.build import build_graph
from graph.compiled import AgentGraph
from graph.errors import ConfigError
from graph.limits import TRUST
from tools.registry import load_tool


def served_graph() -> AgentGraph:
    """The agent that the environment describes.

    Raises:
        ConfigError: a variable is invalid, or a tool cannot be imported.
    """
    trust = os.environ.get(TRUST, "")
    if trust not in ("", "0", "1"):
        raise ConfigError(f"{TRUST} is {trust!r}; it must be 1 or 0.")
    names = [name.strip() for name in os.environ.get("AGENTFLOW_TOOLS", "").split(",") if name.strip()]
    try:  # imported tools now, so that clients know them by their names
        tools = [load_tool(name) if ":" in name else name for name in names]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    corpus = os.environ.get("AGENTFLOW_CORPUS")
    return build_graph(tools=tools or None, corpus=corpus or None, trust_context=trust == "1")


graph = served_graph()
