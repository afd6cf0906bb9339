"""The agent that the settings name: our graph, a graph of the user's own, or whatever keeps the protocol `Agent`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel

from graph.errors import ConfigError
from graph.models.spec import make_model
from training.flow_grpo.config import FROZEN, FlowGRPOConfig
from training.rollouts.agents import Agent, GraphAgent
from training.rollouts.factory import FactoryAgent, roles_of
from training.rollouts.graph_run import GraphOptions
from training.run.imports import imported, in_words

_SETTINGS = ("config", "settings")
"""What the parameter of a function is called that is handed the settings and makes an `Agent`."""


def load_agent(config: FlowGRPOConfig, *, asks: bool) -> Agent:
    """The agent; if it will be run, what it needs is asked for at once.

    Args:
        config: the run's settings. Its `agent` names a function whose parameters are chat models by role and which
            returns a graph; or one of a parameter `config`, which returns an `Agent`; or an `Agent`.
        asks: whether it will be run.

    Raises:
        ConfigError, DataError: something it needs cannot be had.
        ModelUnavailable, ModelRejected: a frozen model's server is not there, or does not know the model.
    """
    agent = GraphAgent(config.context, role=config.roles) if config.agent is None else _own(config, config.agent)
    if asks and isinstance(agent, GraphAgent | FactoryAgent):
        asyncio.run(agent.preflight())
    return agent


def _own(config: FlowGRPOConfig, spec: str) -> Agent:
    found = imported(spec, "The agent")
    if not _is_agent(found) and callable(found) and not hasattr(found, "astream"):
        if not _takes_settings(found):
            return _factory_agent(config, spec, found)
        try:
            found = found(config)
        except TypeError as error:
            raise ConfigError(f"The agent {spec!r} could not be made from the settings: {in_words(error)}.") from error
    if not _is_agent(found):
        raise ConfigError(
            f"{spec!r} is a {type(found).__name__}; name a function that takes chat models and returns a compiled "
            "LangGraph graph, e.g. `def make(model):`."
        )
    agent: Agent = found
    return agent


def _is_agent(value: object) -> bool:
    return not isinstance(value, type) and all(hasattr(value, name) for name in ("prepare", "run", "turns"))


def _takes_settings(make: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(make).parameters.values())
    return bool(parameters) and (parameters[0].name in _SETTINGS or parameters[0].annotation is FlowGRPOConfig)


def _factory_agent(config: FlowGRPOConfig, spec: str, make: Callable[..., Any]) -> FactoryAgent:
    for name in ("tools", "corpus"):
        if getattr(config, name):
            raise ConfigError(f"The setting `{name}` is of our graph; the agent {spec!r} brings its own.")
    for name in FROZEN:
        if name != "agent_model" and getattr(config, name):
            raise ConfigError(f"The setting `{name}` is of our graph; models of {spec!r} stand in `agent_models`.")
    roles = roles_of(make, spec)
    trained = config.roles or roles
    specs = config.agent_models or {}
    for role in specs:
        if role not in roles or role in trained:
            why = "is trained" if role in roles else f"is none of its roles {', '.join(roles)}"
            raise ConfigError(f"`agent_models` names the role {role} of {spec!r}, which {why}.")
    options = GraphOptions(
        input_field=config.agent_input,
        answer=config.agent_answer,
        config=config.agent_config or {},
        resume=imported(config.agent_resume, "The function") if config.agent_resume else None,
        max_seconds=config.max_seconds,
    )
    models = {
        role: _frozen(chosen, config)
        for role in roles
        if role not in trained and (chosen := specs.get(role) or config.agent_model)
    }
    return FactoryAgent(make, name=spec, roles=config.roles, models=models, options=options)


def _frozen(spec: str, config: FlowGRPOConfig) -> BaseChatModel:
    context = config.context
    return make_model(spec, temperature=context.temperature, max_tokens=context.max_tokens, timeout=config.max_seconds)
