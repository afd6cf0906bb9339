"""The four modules as a LangGraph application."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import get_runtime
from langgraph.types import RetryPolicy

from graph.compiled import AgentGraph
from graph.context import Context
from graph.errors import ConfigError, ModelUnavailable
from graph.executor import execute
from graph.generator import generate
from graph.limits import Kind, Limits
from graph.models.connections import run_sync
from graph.models.roles import ANY_ROLE, named_by_operator
from graph.planner import plan
from graph.response_format import ResponseFormat
from graph.resuming import as_record, continues, resumed
from graph.roles import ROLES, Module
from graph.run import Node, Run
from graph.state import AgentInput, RunMark, RunState, State, add_usage
from graph.toolbox import Toolbox, ToolLike
from graph.verifier import verify
from graph.wording import Wording

if TYPE_CHECKING:
    from langgraph.cache.base import BaseCache
    from langgraph.store.base import BaseStore
    from langgraph.types import Checkpointer

NODES: dict[Module, Node] = {"planner": plan, "executor": execute, "verifier": verify, "generator": generate}

NODES_PER_TURN = 3


def build_graph(
    *,
    tools: Sequence[ToolLike] | None = None,
    models: BaseChatModel | str | Mapping[str, BaseChatModel | str] | None = None,
    instructions: str = "",
    prompts: Mapping[str, str] | None = None,
    response_format: type | Mapping[str, Any] | None = None,
    checkpointer: Checkpointer = None,
    store: BaseStore | None = None,
    cache: BaseCache[Any] | None = None,
    interrupt_before: Sequence[str] = (),
    interrupt_after: Sequence[str] = (),
    max_turns: int = 50,
    corpus: str | Path | None = None,
    trust_context: bool = True,
) -> AgentGraph:
    """Compile the agent.

    Args:
        tools: What the planner may choose from: LangChain tools, plain functions with a docstring, built-in names,
            import paths. Tools may ask for the state, the store or the runtime (`InjectedState`, `ToolRuntime`, ...).
            Default: the built-in tools that need no corpus.
        models: One model (a chat model or a spec) for all roles, or one per role. A chat model is used as it is, with
            its own temperature. A run's context takes precedence for the roles it sets.
        instructions: Added to the system prompt of every role, e.g. who the users are, or the language of the answer.
        prompts: Replace the standard prompts of single roles (and of `report`), by role. The format of the reply and
            the description of the tools are added in any case.
        response_format: A pydantic class, dataclass, TypedDict or JSON schema. The generator also gives the answer in
            this form, as `structured_response` in the final state.
        checkpointer: Stores runs, for resuming and for chats. Default: none, because `langgraph dev` and the platform
            bring their own.
        store: LangGraph's long-term store, for tools that use one.
        cache: LangGraph's node cache.
        interrupt_before: Modules to pause before, by name.
        interrupt_after: Modules to pause after, by name.
        max_turns: Upper limit for the `max_turns` of a run's context; it sets LangGraph's recursion limit. A run that
            exceeds it is refused at the start.
        corpus: File or folder that `local_search` searches; the tool is then one of the default tools.
        trust_context: Whether a run's context may name anything: tools by import path, files, addresses that are sent
            `AGENTFLOW_API_KEY`. Say False where contexts come from others, e.g. through a server; they may then choose
            among this graph's tools, and models that reach nothing of yours (see `graph.limits`).

    Returns:
        The compiled graph. It takes a `question` (or `messages`) and a `Context`.

    Raises:
        ConfigError: a role is unknown, two tools have the same name, a tool requires what this graph cannot supply, or
            `response_format` has no JSON schema.
    """
    toolbox, by_role = Toolbox(tools, corpus), _models_by_role(models)
    make_run = partial(
        Run,
        toolbox=toolbox,
        models=by_role,
        wording=Wording(instructions, prompts or {}),
        response_format=None if response_format is None else ResponseFormat(response_format),
    )
    own_names: dict[Kind, Collection[str]] = {
        "tool": toolbox.names,
        "model": named_by_operator(by_role),
        "file": [str(corpus)] if corpus else [],
    }
    limits = Limits(max_turns, None if trust_context else own_names)
    builder: StateGraph[RunState, Context, AgentInput, State] = StateGraph(
        RunState, Context, input_schema=AgentInput, output_schema=State
    )
    retry = RetryPolicy(max_attempts=2, initial_interval=1.0, retry_on=ModelUnavailable)
    for name, module in NODES.items():
        builder.add_node(name, _Node(name, module, make_run, limits), retry_policy=retry)
    # Edges read the state (nodes return no commands), so that a state edited at a pause is routed correctly as well.
    builder.add_edge(START, "planner")
    builder.add_conditional_edges("planner", _Route("executor"), ["executor", "generator"])
    builder.add_edge("executor", "verifier")
    builder.add_conditional_edges("verifier", _Route("planner"), ["planner", "generator"])
    builder.add_edge("generator", END)
    compiled = builder.compile(
        checkpointer=checkpointer,
        store=store,
        cache=cache,
        interrupt_before=list(interrupt_before) or None,
        interrupt_after=list(interrupt_after) or None,
        name="agentflow",
    )
    return AgentGraph.of(compiled).with_config(recursion_limit=NODES_PER_TURN * max_turns + 2)


def _models_by_role(
    models: BaseChatModel | str | Mapping[str, BaseChatModel | str] | None,
) -> dict[str, BaseChatModel | str]:
    if models is None:
        return {}
    if not isinstance(models, Mapping):
        return {ANY_ROLE: models}
    unknown = sorted(set(models) - set(ROLES))
    if unknown:
        raise ConfigError(f"There is no role {unknown[0]!r} to give a model to; the roles are {', '.join(ROLES)}.")
    return dict(models)


class _Node(Runnable[RunState, RunState]):
    """A module as a node for both `invoke` and `ainvoke`.

    A plain function would support only one of them, and a `RunnableLambda` would add a traced run to every node.

    Args:
        name: The node's name.
        module: The node's function.
        make_run: Creates a `Run` with the graph's tools, models, wording and response format.
        limits: What a run's context may ask for.
    """

    def __init__(self, name: str, module: Node, make_run: Callable[..., Run], limits: Limits) -> None:
        self.name = name
        self._module = module
        self._make_run = make_run
        self._limits = limits

    def invoke(self, input: RunState, config: RunnableConfig | None = None, **kwargs: Any) -> RunState:
        """Run the node from a plain thread."""
        return run_sync(self._work(input, config or {}, sync=True))

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **kwargs: Any) -> RunState:
        """Run the node on the event loop."""
        return await self._work(input, config or {}, sync=False)

    async def _work(self, state: RunState, config: RunnableConfig, *, sync: bool) -> RunState:
        given = get_runtime(Context).context
        if not isinstance(given, Context):  # that of a larger graph, which is handed down
            given = None
        mark = None if self.name == "planner" and not continues(state) else state.get("run")
        known: Mapping[str, Any] = mark or {}
        settings: Mapping[str, Any] = known.get("settings", {})
        context = resumed(given, settings)
        self._limits.check(context)
        approvals = sorted({*context.ask_before, *known.get("approvals", ())})
        run = self._make_run(
            context=context,
            config=config,
            approvals=approvals,
            sync=sync,
            seconds_before=state.get("seconds", 0.0),
            turn=len(state.get("memory", [])) + 1,
        )
        run.hear(state.get("messages", []))
        update = cast("RunState", await self._module(state, run))
        if mark := update.get("run", mark):
            marked: RunMark = {**mark, "settings": as_record(context, settings), "approvals": approvals}
            if marked != mark:
                update["run"] = marked
        return update


class _Route(Runnable[RunState, str]):
    """An edge: to the generator if the run has ended, else to the `following` node.

    Under `ainvoke` LangGraph would call a plain function on the event loop's pool of threads.
    """

    name = "route"

    def __init__(self, following: Module) -> None:
        self._following = following

    def invoke(self, input: RunState, config: RunnableConfig | None = None, **kwargs: Any) -> str:
        """The node to go to."""
        return "generator" if input.get("ended_by") else self._following

    async def ainvoke(self, input: RunState, config: RunnableConfig | None = None, **kwargs: Any) -> str:
        """The node to go to."""
        return self.invoke(input, config)


async def answer_now(
    state: State,
    context: Context,
    *,
    tools: Sequence[ToolLike] | None = None,
) -> State:
    """Answer from the results of an unfinished run, without continuing it.

    Args:
        state: The state of the interrupted run.
        context: The run's settings.
        tools: The graph's, as for `build_graph`.

    Raises:
        ModelError: the generator's model did not answer.
    """
    run = Run(
        context,
        Toolbox(tools),
        {},
        {},
        sync=False,
        seconds_before=state.get("seconds", 0.0),
        turn=len(state.get("memory", [])) + 1,
    )
    run.hear(state.get("messages", []))
    update = await generate(state, run)
    usage = add_usage(state.get("usage", {}), update.pop("usage"))
    seconds = state.get("seconds", 0.0) + update.pop("seconds")
    ended = {**state, **update, "usage": usage, "seconds": seconds, "ended_by": "interrupt"}
    return cast("State", ended)
