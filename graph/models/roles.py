"""The model of each role.

In order of precedence: the role's setting in the context, the role's model in `build_graph`, the context's `model`, the
single model of `build_graph`, the environment, the embedded model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from langchain_core.language_models import BaseChatModel

from graph.context import Context
from graph.models.spec import make_model
from graph.roles import ROLES, Role

DEFAULT_MODEL = "embedded"
_LEAST_TIMEOUT = 120.0
"""Minimum time limit of a call in seconds: the generator works after the run's time budget is used up."""

_ANALYSIS_SHARE = 4
"""Divisor of the token limit for an analysis: small models go on to solve the question, at length and wrongly."""

ANY_ROLE = "*"
"""Key of a model for all roles, as in `build_graph(models=MODEL)`."""


def named_by_operator(models: Mapping[str, BaseChatModel | str]) -> set[str]:
    """The specs in a graph's own models and in the environment."""
    variables = ("AGENTFLOW_MODEL", *(f"AGENTFLOW_{role.upper()}_MODEL" for role in ROLES))
    named = (*models.values(), *map(os.environ.get, variables))
    return {spec for spec in named if isinstance(spec, str)}


def is_small(model: BaseChatModel) -> bool:
    """Whether a model says of itself that it is a small one, as embedded ones do (`is_small`)."""
    return bool(getattr(model, "is_small", False))


def model_for(role: Role, context: Context, models: Mapping[str, BaseChatModel | str]) -> BaseChatModel:
    """The chat model of a role.

    Args:
        role: The role.
        context: The run's settings; its temperatures and token limit apply to models from specs.
        models: The graph's models, by role or under `ANY_ROLE`: chat models (used as they are) or specs.

    Raises:
        ConfigError: a spec is invalid.
    """
    choice: BaseChatModel | str = (
        getattr(context, role, None)
        or models.get(role)
        or context.model
        or models.get(ANY_ROLE)
        or os.environ.get(f"AGENTFLOW_{role.upper()}_MODEL")
        or os.environ.get("AGENTFLOW_MODEL")
        or DEFAULT_MODEL
    )
    if isinstance(choice, BaseChatModel):
        return choice
    temperature = context.temperature
    if role == "planner" and context.planner_temperature is not None:
        temperature = context.planner_temperature
    # The run's time budget cancels calls that take too long; a shorter limit would only penalise slow machines.
    timeout = max(_LEAST_TIMEOUT, context.max_seconds)
    max_tokens = context.max_tokens
    if role == "analyst":
        max_tokens = max(1, max_tokens // _ANALYSIS_SHARE)
    return make_model(choice, temperature=temperature, max_tokens=max_tokens, timeout=timeout)
