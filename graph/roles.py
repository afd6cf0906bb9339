"""Names that everything else goes by: the graph's modules, and the roles that ask a model."""

from __future__ import annotations

from typing import Final, Literal, get_args

Module = Literal["planner", "executor", "verifier", "generator"]
"""The graph's nodes."""

Role = Literal["analyst", "planner", "executor", "verifier", "generator", "generalist"]
"""Who asks a model. The analyst is the planner's first look at the question; in training it stays frozen. The
generalist is a tool, and answers with the model of all roles."""

MODULES: Final[tuple[Module, ...]] = get_args(Module)
ROLES: Final[tuple[Role, ...]] = get_args(Role)
ROLES_WITH_SETTING: Final[tuple[Role, ...]] = tuple(role for role in ROLES if role != "generalist")
"""The roles to which a run's settings can give a model of their own (`Context.planner`, `--planner-model`, ...)."""
