"""Any LangGraph agent: a function that takes chat models and returns a compiled graph.

    def make(model):
        return create_agent(model, tools=[search, calculator], system_prompt="...")

The function's parameters are roles. Those that are trained get the policy, the others a frozen model; the graph is made
anew for each run, so that nothing is shared between runs. A run's own failure (an endless loop, a tool
that raises, an unreadable answer) ends it there, and it earns what its state earns. Where an error may be another's
failure (a model or a service out of reach, code that cannot run), the collector judges it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, is_typeddict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import Pregel

from evals.task import Task
from graph.errors import AgentFlowError, ConfigError
from graph.models.embedded import EmbeddedChat
from graph.models.spec import preflight
from tools.counts import kind_of
from training.engines.base import Sampling
from training.rollouts.agents import DOUBT, FINAL, State
from training.rollouts.graph_run import GraphOptions, GraphRun
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import PlannerTurn
from training.rollouts.run_record import RunRecord, in_role
from training.run.imports import in_words

logger = logging.getLogger(__name__)


class FactoryAgent:
    """The graph made by a function, with the policy in some of its roles.

    Args:
        make: plain or async; each parameter without a default is a role.
        name: what the function is called, for errors.
        roles: the trained roles; empty: the only one.
        models: frozen models of the others.
        options: input, answer, configuration, interrupts.

    Raises:
        ConfigError: the roles are not the function's, or one has no model.
    """

    def __init__(
        self,
        make: Callable[..., Any],
        *,
        name: str,
        roles: Sequence[str] = (),
        models: Mapping[str, BaseChatModel] | None = None,
        options: GraphOptions | None = None,
    ) -> None:
        self.name = name
        self._make = make
        self._known = roles_of(make, name)
        self.roles = tuple(roles) or self._known
        self._options = options or GraphOptions()
        listed = ", ".join(self._known)
        if not roles and len(self._known) > 1:
            raise ConfigError(f"The agent {name!r} has the roles {listed}; say in `role` which of them is trained.")
        for role in self.roles:
            if role not in self._known:
                raise ConfigError(f"The agent {name!r} has no role {role!r} to train; its roles are {listed}.")
        frozen = [role for role in self._known if role not in self.roles]
        for role in frozen:
            if role not in (models or {}):
                raise ConfigError(
                    f"The role {role} of the agent {name!r} is not trained and has no model; set `agent_model`, or "
                    "`agent_models`."
                )
        self._frozen = {role: in_role((models or {})[role], role) for role in frozen}
        self._input_field = self._options.input_field
        self.embeds_models = any(isinstance(model, EmbeddedChat) for model in self._frozen.values())
        """Whether a frozen model runs in this process."""
        self._told: set[str] = set()
        self._looking: asyncio.Task[None] | None = None

    # Before any run

    async def preflight(self) -> None:
        """Checks once, before any run, that the graph can be made and that each frozen model answers.

        Raises:
            ConfigError: the function makes no graph, or one whose input or output cannot be told.
            ModelUnavailable, ModelRejected: a model's server is not there, or does not know the model.
        """
        graph = await self._graph(await asyncio.to_thread(_stand_in))
        fields = _fields(graph, "input")
        if self._input_field is None:
            self._input_field = next((name for name in ("messages", "question") if name in fields), None)
        if self._input_field is None or (fields and self._input_field not in fields):
            wanted = f"no field {self._input_field!r}" if self._input_field else "neither `messages` nor `question`"
            raise ConfigError(
                f"The input of the graph that {self.name!r} makes has {wanted}; set `agent_input` to the field that "
                f"takes the question: {', '.join(fields) or 'it names none'}."
            )
        outputs = _fields(graph, "output")
        if self._options.answer is None and not {"messages", "answer"} & set(outputs):
            raise ConfigError(
                f"The output of the graph that {self.name!r} makes has neither `messages` nor `answer`; set "
                f"`agent_answer` to the path of the answer in its state: {', '.join(outputs) or 'it names none'}."
            )
        for model in {id(model): model for model in self._frozen.values()}.values():
            await preflight(model)

    async def _looked_at(self) -> None:
        """The same where nobody has asked for it, once for all runs that begin together."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self.preflight())
        await asyncio.shield(self._looking)

    async def _graph(self, policy: PolicyChat) -> Pregel[Any, Any, Any, Any]:
        """A graph for one run."""
        models: dict[str, BaseChatModel] = dict(self._frozen)
        models |= {role: in_role(policy.as_role(role), role) for role in self.roles}
        try:
            graph = self._make(**models)
            if inspect.isawaitable(graph):
                graph = await graph
            if not isinstance(graph, Pregel) and hasattr(graph, "compile"):
                graph = graph.compile()
        except AgentFlowError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(f"The agent {self.name!r} could not be made: {in_words(error)}.") from error
        if not isinstance(graph, Pregel):
            raise ConfigError(
                f"The agent {self.name!r} makes {kind_of(graph)}; it must return a compiled LangGraph graph."
            )
        if self._options.resume is not None and not graph.checkpointer:
            graph = graph.copy(update={"checkpointer": InMemorySaver()})
        return graph

    # Runs

    async def prepare(self, task: Task, seed: int) -> State:
        """Nothing: another graph starts from the question."""
        return {"question": task.prompt}

    def turns(self, state: State, policy: PolicyChat) -> Sequence[PlannerTurn]:
        """All calls of the policy."""
        return policy.turns

    async def run(self, task: Task, start: State, policy: PolicyChat, seed: int) -> State:
        """One run of the graph; an error that may not be the run's own is in its state (`DOUBT`).

        Raises:
            ConfigError: the graph cannot be made.
        """
        if self._input_field is None:
            await self._looked_at()
        run = GraphRun(await self._graph(policy), policy, self._options, self.name)
        ended_by = await run.to_its_end(self._input(task), self._config(policy, run.record, seed))
        self._tell(run.error)
        values = run.values
        messages = values.get("messages")
        memory = run.record.memory(messages if isinstance(messages, list) else [])
        record = {
            "answer": _answer(values, self._options.answer),
            "ended_by": ended_by,
            "memory": memory,
            "usage": run.record.usage,
            "trace": run.record.trace.as_dict(),
        }
        judged = {"early_calls": run.record.early_calls(), DOUBT: run.doubt}
        return {**record, **judged, FINAL: {**record, **values, "answer": record["answer"]}}

    def _input(self, task: Task) -> dict[str, Any]:
        assert self._input_field is not None
        if self._input_field == "messages":
            return {"messages": [HumanMessage(task.prompt)]}
        return {self._input_field: task.prompt}

    def _config(self, policy: PolicyChat, record: RunRecord, seed: int) -> RunnableConfig:
        given = self._options.config
        config: RunnableConfig = {
            "callbacks": [record],
            "run_name": policy.run,
            # Of each try its own: a thread of the graph's checkpointer would otherwise go on where a run failed.
            "configurable": {"thread_id": str(uuid.uuid4()), "seed": seed, **given.get("configurable", {})},
        }
        if "recursion_limit" in given:
            config["recursion_limit"] = given["recursion_limit"]
        return config

    def _tell(self, error: BaseException | None) -> None:
        """Log each kind of error that ended a run once."""
        if error is None or type(error).__name__ in self._told:
            return
        self._told.add(type(error).__name__)
        logger.warning("A run of %s ended with an error and earns what it has: %s.", self.name, in_words(error))


def roles_of(make: Callable[..., Any], name: str) -> tuple[str, ...]:
    """The parameters of an agent's function that have no default.

    Raises:
        ConfigError: there are none, or one cannot be given by name.
    """
    parameters = inspect.signature(make).parameters.values()
    required = [each for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if not required or any(each.kind in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL) for each in required):
        raise ConfigError(
            f"The agent {name!r} must be a function whose parameters are its roles, e.g. `def make(model):` or "
            "`def make(planner, solver):`, each a chat model."
        )
    return tuple(each.name for each in required)


def value_at(state: object, path: str) -> object:
    """The value at a dotted path: keys of mappings, numbers of lists, attributes of objects; None where there is none.

    `structured_response.answer`, `messages.-1.content`.
    """
    for part in path.split("."):
        if isinstance(state, Mapping):
            state = state.get(part)
        elif isinstance(state, Sequence) and not isinstance(state, str) and part.lstrip("-").isdigit():
            number = int(part)
            state = state[number] if -len(state) <= number < len(state) else None
        else:
            state = getattr(state, part, None)
    return state


def _answer(values: Mapping[str, Any], path: str | None) -> str:
    if path is not None:
        found = value_at(values, path)
        return str(found.text) if isinstance(found, AIMessage) else "" if found is None else str(found)
    if "answer" in values:
        return "" if values["answer"] is None else str(values["answer"])
    messages = values.get("messages")
    replies = [message for message in messages if isinstance(message, AIMessage)] if isinstance(messages, list) else []
    return str(replies[-1].text) if replies else ""


def _fields(graph: Pregel[Any, Any, Any, Any], side: Literal["input", "output"]) -> list[str]:
    """The names in a graph's input or output."""
    declared = getattr(getattr(graph, "builder", None), f"{side}_schema", None)
    if is_typeddict(declared):  # of which there are two kinds, and pydantic describes only one before Python 3.12
        return list(declared.__annotations__)
    schema: Mapping[str, Any] = graph.get_input_jsonschema() if side == "input" else graph.get_output_jsonschema()
    while "$ref" in schema:
        schema = schema.get("$defs", {}).get(str(schema["$ref"]).rpartition("/")[2], {})
    return list(schema.get("properties", {}))


class _NothingYet:
    """Stands for engine and chat template while a graph is made to be looked at."""

    max_context = 1_000_000

    def __getattr__(self, name: str) -> Any:
        raise ConfigError("The agent asks its model while it is made; ask in a node, when the run has begun.")


def _stand_in() -> PolicyChat:
    nothing: Any = _NothingYet()
    return PolicyChat(engine=nothing, chat=nothing, sampling=Sampling(), run="preflight", seed=0)
