"""The compiled agent: LangGraph's own class, with a recursion limit that fits the number of turns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import DEFAULT_RECURSION_LIMIT
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph.state import CompiledStateGraph
from pydantic import BaseModel

from graph.chat import well_formed_input, with_question_last
from graph.context import Context
from graph.state import AgentInput, RunState, State

if TYPE_CHECKING:
    from langgraph.types import Command, Interrupt

    class Result(State, total=False):
        """The state as a run leaves it."""

        __interrupt__: Sequence[Interrupt]
        """What a human is asked, where the run pauses for that."""


_ANY = CompiledStateGraph[RunState, Context, AgentInput, State]


class AgentGraph(_ANY):
    """The compiled agent that `build_graph` returns.

    A run ends by itself after the turns its context allows. When one runnable calls another (`batch`, a chain, a tool),
    LangChain fills in a recursion limit of 25 steps, which is eight turns. Nobody chose that limit, so it does not
    replace the graph's own; any other limit in a call's configuration does.
    """

    @classmethod
    def of(cls, compiled: _ANY) -> Self:
        """The same graph as an `AgentGraph` that streams the fields of `State` only."""
        parts = {name: value for name, value in vars(compiled).items() if name != "__orig_class__"}
        return cls(**{**parts, "stream_channels": compiled.output_channels})

    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
        context: Context | None = None,
    ) -> BaseTool:
        """The agent as a tool of another one, which asks it a question and is given the answer.

        Args:
            args_schema: Other arguments than a question, as for any runnable; the result is then the whole state.
            name: What the tool is called.
            description: What it is good for, as its caller reads it.
            arg_types: Types of other arguments, instead of `args_schema`.
            context: The settings of its runs; those of the caller are not handed down.
        """
        if args_schema is not None or arg_types is not None:
            return super().as_tool(args_schema, name=name, description=description, arg_types=arg_types)

        own = context or Context()

        def ask(question: str) -> str:
            return self.invoke({"question": question}, context=own)["answer"]

        async def ask_async(question: str) -> str:
            return (await self.ainvoke({"question": question}, context=own))["answer"]

        return StructuredTool.from_function(
            ask,
            ask_async,
            name=name or self.get_name().lower(),
            description=description or "Answers a question that takes several steps: plans them, calls tools, checks.",
        )

    if TYPE_CHECKING:  # what results are, as long as `stream_mode` and `version` are left alone

        def invoke(  # type: ignore[override]
            self,
            input: AgentInput | Command[Any] | None,
            config: RunnableConfig | None = None,
            *,
            context: Context | None = None,
            **options: Any,
        ) -> Result: ...

        async def ainvoke(  # type: ignore[override]
            self,
            input: AgentInput | Command[Any] | None,
            config: RunnableConfig | None = None,
            *,
            context: Context | None = None,
            **options: Any,
        ) -> Result: ...

    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Iterator[Any]:
        """Run the agent step by step; all other ways to run it call this or `astream`."""
        return super().stream(_read(input, config), _chosen(config), **options)

    def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:
        """Run the agent step by step."""
        return super().astream(_read(input, config), _chosen(config), **options)


def _read(given: Any, config: RunnableConfig | None) -> Any:
    """The input, well formed; the question of a caller's input is made the chat's newest message.

    As a part of a larger graph, the agent is given that graph's state, whose question may be the last run's.
    """
    given = well_formed_input(given)
    is_part = "__pregel_task_id" in ((config or {}).get("configurable") or {})
    return given if is_part else with_question_last(given)


def _chosen(config: RunnableConfig | None) -> RunnableConfig | None:
    """The configuration without a limit that nobody chose."""
    if config is None or config.get("recursion_limit") != DEFAULT_RECURSION_LIMIT:
        return config
    chosen = config.copy()
    del chosen["recursion_limit"]
    return chosen
