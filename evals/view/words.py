"""Names that the page shares with the rest: modules as in the graph and the terminal, figures as in the metrics."""

from __future__ import annotations

from graph.roles import MODULES, ROLES

WORDS = {"roles": ROLES, "nodes": MODULES}
