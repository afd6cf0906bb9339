"""Names of modules and roles for the page, as in the graph and the terminal."""

from __future__ import annotations

from graph.roles import MODULES, ROLES

WORDS = {"roles": ROLES, "nodes": MODULES}
