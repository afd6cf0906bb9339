"""The agent that the settings name: our graph, the user's own graph, a program or service, or another `Agent`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel

from graph.errors import ConfigError
from graph.models.spec import make_model
from tools.counts import kind_of
from training.flow_grpo.config import CONTEXT, FROZEN, HTTP, FlowGRPOConfig
from training.rollouts.agents import Agent, GraphAgent
from training.rollouts.door.agent import DoorOptions, HttpAgent
from training.rollouts.factory import FactoryAgent, roles_of
from training.rollouts.graph_run import GraphOptions
from training.run.imports import imported, in_words

_SETTINGS = ("config", "settings")
"""Names of the parameter of a function that makes an `Agent` from the settings."""


def load_agent(config: FlowGRPOConfig, *, asks: bool) -> Agent:
    """Loads the agent; if it will run, its tools and models are checked at once.

    Args:
        config: settings of the run. Its `agent` names a function from chat models (parameters by role) to a graph, or a
            function with a parameter `config` that returns an `Agent`, or an `Agent`; or it is `http`.
        asks: whether it will run.

    Raises:
        ConfigError, DataError: something it needs is not available.
        ModelUnavailable, ModelRejected: the server of a frozen model is unreachable, or does not have the model.
    """
    if config.agent is None:
        agent: Agent = GraphAgent(config.context, role=config.roles)
    else:
        agent = _http_agent(config) if config.agent == HTTP else _own(config, config.agent)
    if asks and isinstance(agent, GraphAgent | FactoryAgent | HttpAgent):
        asyncio.run(agent.preflight())
    return agent


def _http_agent(config: FlowGRPOConfig) -> HttpAgent:
    _refuse_settings_of_our_graph(config, "agent: http")
    if config.agent_models:
        raise ConfigError("The setting `agent_models` applies to functions that make a graph; agent: http has its own.")
    options = DoorOptions(
        command=config.agent_command or "",
        url=config.agent_url or "",
        answer=config.agent_answer,
        listen=config.agent_listen,
        passed=config.agent_env,
        most_calls=config.agent_calls,
        max_seconds=config.max_seconds,
    )
    return HttpAgent(options, config.roles)


def _refuse_settings_of_our_graph(config: FlowGRPOConfig, agent: str) -> None:
    for name in sorted(CONTEXT - {*FROZEN, "max_seconds"}):  # in every agent a run has its time
        if getattr(config, name) != getattr(FlowGRPOConfig, name):
            raise ConfigError(f"The setting `{name}` applies to our graph only, not to {agent}; leave it out.")
    for name in FROZEN:
        if name != "agent_model" and getattr(config, name):
            raise ConfigError(
                f"The setting `{name}` applies to our graph only; models of the roles of a function stand in "
                "`agent_models`, and agent: http has its own."
            )


def _own(config: FlowGRPOConfig, spec: str) -> Agent:
    target = imported(spec, "The agent")
    if not _is_agent(target) and callable(target) and not hasattr(target, "astream"):
        if not _takes_settings(target):
            return _factory_agent(config, spec, target)
        try:
            target = target(config)
        except TypeError as error:
            raise ConfigError(f"The agent {spec!r} could not be made from the settings: {in_words(error)}.") from error
    if not _is_agent(target):
        raise ConfigError(
            f"{spec!r} is {kind_of(target)}; name a function that takes chat models and returns a compiled "
            "LangGraph graph, e.g. `def make(model):`."
        )
    agent: Agent = target
    return agent


def _is_agent(value: object) -> bool:
    return not isinstance(value, type) and all(hasattr(value, name) for name in ("prepare", "run", "turns"))


def _takes_settings(make: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(make).parameters.values())
    return bool(parameters) and (parameters[0].name in _SETTINGS or parameters[0].annotation is FlowGRPOConfig)


def _factory_agent(config: FlowGRPOConfig, spec: str, make: Callable[..., Any]) -> FactoryAgent:
    _refuse_settings_of_our_graph(config, f"the agent {spec!r}")
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
        most_calls=config.agent_calls,
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
