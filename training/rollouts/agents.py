"""The protocol of agents that can be trained: prepare a task, run it with a policy in a role, read the policy's turns.

Our graph is one such agent, its planner the role that is trained by default. Another role, or somebody else's
LangGraph application, fits behind the same protocol; credit, loss, packing and trainer never see the difference.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from evals.task import Task
from graph.build import build_graph
from graph.compiled import AgentGraph
from graph.context import Context
from graph.direct import analyse
from graph.errors import ConfigError
from graph.executor import text_argument
from graph.models.embedded import EmbeddedChat
from graph.models.roles import model_for
from graph.models.spec import preflight
from graph.roles import ROLES, Role
from graph.state import AgentInput
from graph.toolbox import Toolbox
from graph.trace import traced
from tools.arguments import arguments_of
from tools.card import card_of
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import PlannerTurn

State = Mapping[str, Any]
"""A finished run: `answer`, and where there are any `memory`, `usage`, `ended_by`, `analysis`, `seconds`, `trace`."""

FINAL = "final"
"""Key of the final state of another graph, which rewards are then given instead of the run's state."""

DOUBT = "doubt"
"""Key of the error (one of `graph.errors`) that ended a run, where it may not be the run's own failure."""


class Agent(Protocol):
    """A run of a task with the policy in it."""

    async def prepare(self, task: Task, seed: int) -> State:
        """What all runs of a group share, e.g. the analysed question.

        Raises:
            AgentFlowError: see `graph.errors`.
        """

    async def run(self, task: Task, start: State, policy: PolicyChat, seed: int) -> State:
        """One complete run from that start.

        Raises:
            AgentFlowError: see `graph.errors`.
        """

    def turns(self, state: State, policy: PolicyChat) -> Sequence[PlannerTurn]:
        """The calls of the policy that led to the outcome, in order."""


class GraphAgent:
    """The four modules of `graph`, with the policy in one role or several and frozen models in the others.

    Args:
        context: settings of every run; its models are those of the other roles.
        tools: the planner's tools, as in `build_graph`.
        models: frozen models by role, as in `build_graph`.
        role: the trained role or roles.

    Raises:
        ConfigError: there is no such role, or the settings give it a model of its own, or plan ahead.
    """

    def __init__(
        self,
        context: Context,
        *,
        tools: Sequence[BaseTool | str] | None = None,
        models: Mapping[str, BaseChatModel | str] | None = None,
        role: str | Sequence[str] = "planner",
    ) -> None:
        roles = (role,) if isinstance(role, str) else tuple(role)
        for each in roles:
            _refuse_unsuited(each, context)
        if context.speculate:
            raise ConfigError("A run that is trained on cannot plan ahead: leave the setting `speculate` off.")
        self.context = context
        self.tools = tools
        self.models = dict(models or {})
        self.roles = roles
        self.embeds_models = False
        """Whether a frozen model runs in this process, as far as `preflight` has seen."""
        self._shares_analysis = context.analyse is not False and "analyst" not in roles

    async def preflight(self) -> None:
        """Checks once, before any run, that the tools can be made and that each frozen model's server answers.

        Raises:
            ConfigError, DataError: a tool, its corpus or a model is not available.
            ModelUnavailable, ModelRejected: a server is not there, or does not know the model.
        """
        toolbox = Toolbox(self.tools)
        any_model = model_for("generalist", self.context, self.models)
        tools = await asyncio.to_thread(toolbox.select, self.context, any_model)
        asked = self._asked(tools)
        for role in self.roles:
            if role not in asked:
                raise ConfigError(
                    f"The role {role} is to be trained, but with these tools and settings no model is asked in it; "
                    "look at direct_arguments and tools."
                )
        frozen = [role for role in asked if role not in self.roles]
        models = [model_for(role, self.context, self.models) for role in frozen]
        self.embeds_models = any(isinstance(model, EmbeddedChat) for model in models)
        for model in {id(model): model for model in models}.values():
            await preflight(model)

    def _asked(self, tools: Sequence[BaseTool]) -> list[Role]:
        """The roles that ask a model under these settings."""
        context = self.context
        written = context.direct_arguments and all(text_argument(arguments_of(tool).schema) for tool in tools)
        work: dict[Role, bool] = {
            "planner": True,
            "analyst": context.analyse is not False,
            "executor": not written,
            "verifier": context.verify == "model",
            "generator": context.answer == "model",
            "generalist": any(card_of(tool).asks_role == "generalist" for tool in tools),
        }
        return [role for role, asks in work.items() if asks]

    async def prepare(self, task: Task, seed: int) -> State:
        """The question, and its analysis by the frozen analyst if the settings want one."""
        if not self._shares_analysis:
            return {"question": task.prompt}
        with traced() as trace:
            analysis = await analyse(task.prompt, self.context, self.models, {"configurable": {"seed": seed}})
        return {"question": task.prompt, "analysis": analysis, "trace": trace.as_dict()}

    @functools.cached_property
    def _graph(self) -> AgentGraph:
        """For all runs: it holds the tools, and compiling it takes longer than all else that we do in a run."""
        return build_graph(tools=self.tools, models=self.models)

    @functools.cached_property
    def _run_context(self) -> Context:
        return replace(self.context, analyse=self.context.analyse is not False and not self._shares_analysis)

    async def run(self, task: Task, start: State, policy: PolicyChat, seed: int) -> State:
        """One run of the graph."""
        played = {role: policy.as_role(role, plain=True) for role in self.roles}
        if "generalist" in self.roles:  # a tool, which is made for its model
            graph, played = build_graph(tools=self.tools, models={**self.models, **played}), {}
        else:
            graph = self._graph
        callers = {"seed": seed, "seconds_left": policy.seconds_left, "models": played}
        config = RunnableConfig(configurable=callers, run_name=policy.run)
        given = cast("AgentInput", {name: value for name, value in start.items() if name != "trace"})
        with traced(start.get("trace")) as trace:
            state = await graph.ainvoke(given, context=self._run_context, config=config)
        return {**state, "trace": trace.as_dict()}

    def turns(self, state: State, policy: PolicyChat) -> Sequence[PlannerTurn]:
        """For the planner those in the graph's state: a call that a node repeated after a failure is not among them."""
        if self.roles != ("planner",):
            return policy.turns
        return [PlannerTurn(**turn) for turn in state.get("planner_turns", [])]


def _refuse_unsuited(role: str, context: Context) -> None:
    if role not in ROLES:
        raise ConfigError(f"There is no role {role!r} to train; the roles are {', '.join(ROLES)}.")
    if getattr(context, role, None):
        raise ConfigError(f"The role {role} is trained and cannot have the model {getattr(context, role)!r} too.")
    idle = {
        "analyst": (context.analyse is False, "analyse: false"),
        "verifier": (context.verify == "rules", "verify: rules"),
        "generator": (context.answer == "last_result", "answer: last_result"),
    }
    never, because = idle.get(role, (False, ""))
    if never:
        raise ConfigError(f"The role {role} is to be trained, but {because} leaves it without work; set it anew.")
