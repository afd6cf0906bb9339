"""Train the planner inside the running graph; each folder is one stage of it, or one command."""

from _agentflow_shadows import require

require("tools", "graph", "evals")
