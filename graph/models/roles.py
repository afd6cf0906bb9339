"""Which model plays which role.

From the most to the least particular: the role's own setting in the context, the object given to `build_graph` for the
role, the context's `model`, the one model given to `build_graph`, the environment, the embedded model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from langchain_core.language_models import BaseChatModel

from graph.context import Context
from graph.models.spec import make_model
from graph.roles import Role

DEFAULT_MODEL = "embedded"
_LEAST_TIMEOUT = 120.0
"""Seconds that a model call may take at least: the generator works after the run's time is over."""

_ANALYSIS_SHARE = 4
"""An analysis gets this part of a reply's tokens: small models go on to solve the question, at length and wrongly."""

ANY_ROLE = "*"
"""The key under which `build_graph(models=...)` keeps a model that is meant for every role."""


def model_for(role: Role, context: Context, models: Mapping[str, BaseChatModel | str]) -> BaseChatModel:
    """The chat model of a role.

    Args:
        role: The role that asks.
        context: The run's settings; its temperatures and token limit go into every model made from a spec.
        models: What the graph was built with: chat models (used as they are) or specs, by role or under `ANY_ROLE`.

    Raises:
        ConfigError: a spec cannot be used.
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
    # The run's own budget ends a call that takes too long; a shorter limit here would only cut slow machines off.
    timeout = max(_LEAST_TIMEOUT, context.max_seconds)
    max_tokens = context.max_tokens
    if role == "analyst":
        max_tokens = max(1, max_tokens // _ANALYSIS_SHARE)
    return make_model(choice, temperature=temperature, max_tokens=max_tokens, timeout=timeout)
