"""What training knows of an agent: it can be prepared for a task, run with a policy in one role, and read afterwards.

Our graph is one such agent, its planner the role that is trained by default. Another role, or somebody else's
LangGraph application, fits behind the same protocol; credit, loss, packing and trainer never see the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from evals.task import Task
from graph.build import build_graph
from graph.context import Context
from graph.direct import analyse
from graph.errors import ConfigError
from graph.state import ROLES
from training.policy import PolicyChat
from training.records import PlannerTurn

State = Mapping[str, Any]
"""A finished run: `answer`, and where there are any `memory`, `usage`, `ended_by`, `analysis`, `seconds`."""


class Agent(Protocol):
    """A run of a task with the policy in it."""

    async def prepare(self, task: Task, seed: int) -> State:
        """What all runs of a group start from, e.g. the analysed question.

        Raises:
            AgentFlowError: see `graph.errors`.
        """

    async def run(self, task: Task, start: State, policy: PolicyChat, seed: int) -> State:
        """One run from that start, to its end.

        Raises:
            AgentFlowError: see `graph.errors`.
        """

    def turns(self, state: State, policy: PolicyChat) -> Sequence[PlannerTurn]:
        """The calls of the policy that led to the outcome, in order."""


class GraphAgent:
    """The four modules of `graph`, with the policy in one role and frozen models in the others.

    Args:
        context: settings of every run; its models are those of the other roles.
        tools: what the planner may choose from, as in `build_graph`.
        models: frozen models by role, as in `build_graph`.
        role: which role is trained.

    Raises:
        ConfigError: there is no such role, or the settings give it a model of its own, or plan ahead.
    """

    def __init__(
        self,
        context: Context,
        *,
        tools: Sequence[BaseTool | str] | None = None,
        models: Mapping[str, BaseChatModel | str] | None = None,
        role: str = "planner",
    ) -> None:
        if role not in ROLES:
            raise ConfigError(f"There is no role {role!r} to train; the roles are {', '.join(ROLES)}.")
        if getattr(context, role, None):
            raise ConfigError(f"The role {role} is trained and cannot have the model {getattr(context, role)!r} too.")
        if context.speculate:
            raise ConfigError("A run that is trained on cannot plan ahead: leave the setting `speculate` off.")
        self.context = context
        self.tools = tools
        self.models = dict(models or {})
        self.role = role
        self._shares_analysis = context.analyse and role != "analyst"

    async def prepare(self, task: Task, seed: int) -> State:
        """The question, and its analysis by the frozen analyst if the settings want one."""
        start = {"question": task.prompt}
        if self._shares_analysis:
            start["analysis"] = await analyse(task.prompt, self.context, self.models, {"configurable": {"seed": seed}})
        return start

    async def run(self, task: Task, start: State, policy: PolicyChat, seed: int) -> State:
        """One run of the graph."""
        graph = build_graph(tools=self.tools, models={**self.models, self.role: policy})
        context = replace(self.context, analyse=self.context.analyse and not self._shares_analysis)
        config = {"configurable": {"seed": seed}, "run_name": policy.run}
        state: State = await graph.ainvoke(start, context=context, config=config)  # type: ignore[call-overload]
        return state

    def turns(self, state: State, policy: PolicyChat) -> Sequence[PlannerTurn]:
        """For the planner those in the graph's state: a call that a node repeated after a failure is not among them."""
        if self.role != "planner":
            return policy.turns
        return [PlannerTurn(**turn) for turn in state.get("planner_turns", [])]
