"""One thread of the agent at a terminal: a question, or the questions of a chat."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, Interrupt, Overwrite

from graph.build import NODES, answer_now, build_graph
from graph.context import DEFAULT_TOOLS, Context
from graph.errors import ConfigError
from graph.models.progress import progress_told_to
from graph.models.roles import is_small, model_for
from graph.models.spec import cheapest_first, preflight
from graph.roles import ROLES
from graph.state import State
from graph.terminal.human import Human
from graph.terminal.view import View
from graph.toolbox import Toolbox

if TYPE_CHECKING:
    from graph.toolbox import ToolLike

Keeper = Callable[[State], None]
"""Is given the state of an unfinished run after each step."""


class Stopped(Exception):
    """Ctrl-C stopped the run; what it knew is still there."""


class Thread:
    """A thread of the agent.

    Args:
        context: Its settings.
        view: What is shown.
        human: Who is asked.
        more_tools: Tools beside those of the settings.

    Raises:
        ConfigError: a tool that the settings name cannot be used.
    """

    def __init__(self, context: Context, view: View, human: Human, more_tools: Sequence[BaseTool] = ()) -> None:
        named: list[ToolLike] | None = None
        if more_tools:
            local = ("local_search",) if context.corpus else ()
            named = [*(context.tools or (*DEFAULT_TOOLS, *local)), *more_tools]
            context = replace(context, tools=None)
        view.begin("", "opening the tools")
        self._tools = Toolbox(named).select(context, model_for("generalist", context, {}))
        self._context = replace(context, tools=None)
        self._view = view
        self._human = human
        self._graph = build_graph(tools=self._tools, checkpointer=InMemorySaver(), max_turns=context.max_turns)
        self.forget()

    def forget(self) -> None:
        """Begin a new conversation."""
        self._config: Any = {"configurable": {"thread_id": str(uuid4())}}

    async def answer(self, question: str, keep: Keeper | None = None) -> State:
        """The state of the finished run.

        Raises:
            Stopped: Ctrl-C.
            AgentFlowError: the run cannot go on.
        """
        given: Any = {"messages": [HumanMessage(question)]}
        small = is_small(model_for("planner", self._context, {}))
        analyses = self._context.analyses(is_small=small, chat=bool((await self.known()).get("messages")))
        with progress_told_to(self._view):
            self._view.begin("analyst" if analyses else "planner")
            while given is not None:
                questions = await self._until_ctrl_c(self._stream(given, keep, question))
                given = Command(resume=self._ask(questions)) if questions else None
        return await self.known()

    async def known(self) -> State:
        """What the thread knows now."""
        return cast("State", (await self._graph.aget_state(self._config)).values)

    async def answer_now(self, question: str) -> State:
        """Answer from what a stopped run knew.

        Raises:
            ModelError: the generator's model did not answer.
        """
        self._view.begin("generator")
        known = cast("State", {"question": question, **await self.known()})
        return await answer_now(known, self._context, tools=self._tools)

    async def _stream(self, given: Any, keep: Keeper | None, question: str) -> list[Interrupt]:
        """Let the graph run; the questions on which it pauses."""
        questions: list[Interrupt] = []
        modes: Any = ["updates", "messages", *(["values"] if keep else [])]
        async for mode, part in self._graph.astream(given, self._config, context=self._context, stream_mode=modes):
            if mode == "values" and keep:
                keep(cast("State", {**part, "question": part.get("question") or question}))  # the first step sets it
            elif mode == "messages":
                chunk, metadata = cast("tuple[Any, Mapping[str, Any]]", part)
                if isinstance(chunk, AIMessage):  # the question is a message too
                    self._view.hear(_role(metadata), chunk)
            elif mode == "updates":
                for name, written in cast("dict[str, Any]", part).items():
                    if name == "__interrupt__":
                        questions += written
                    elif name in NODES:
                        self._view.step(name, _plain(written or {}))
        return questions

    async def _until_ctrl_c(self, work: Any) -> list[Interrupt]:
        """The result of some work; Ctrl-C cancels it, and a second one ends the program."""
        task: asyncio.Task[list[Interrupt]] = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        stopped = False

        def stop() -> None:
            nonlocal stopped
            stopped = True
            loop.remove_signal_handler(signal.SIGINT)
            task.cancel()

        loop.add_signal_handler(signal.SIGINT, stop)
        try:
            return await task
        except asyncio.CancelledError:
            if stopped:
                raise Stopped from None
            raise
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    def _ask(self, questions: Sequence[Interrupt]) -> dict[str, Any]:
        """The human's answers by question. Waits on the event loop's own thread, where Ctrl-C is noticed."""
        try:
            with self._view.paused():
                return {question.id: self._human.answer(question.value) for question in questions}
        except KeyboardInterrupt:
            sys.stderr.write("\n")
            raise Stopped from None


def _plain(update: Mapping[str, Any]) -> dict[str, Any]:
    """What a node has written; where it replaces what an earlier run left, the value is wrapped."""
    return {name: value.value if isinstance(value, Overwrite) else value for name, value in update.items()}


def _role(metadata: Mapping[str, Any]) -> str:
    """Who writes: models are called with their role as a tag."""
    tags = metadata.get("tags") or ()
    return next((tag for tag in tags if tag in ROLES), str(metadata.get("langgraph_node", "")))


async def start_models(context: Context, view: View) -> None:
    """Let the models be found, fetched and started now, so that a mistake is told at once.

    Raises:
        AgentFlowError: a model cannot be used.
    """
    models = {id(model): model for model in (model_for(role, context, {}) for role in ROLES)}
    with progress_told_to(view):
        for model in cheapest_first(models.values()):
            view.begin("", f"asking for the model {getattr(model, 'model', '')}".rstrip())
            await preflight(model)


async def mcp_tools(path: str) -> list[BaseTool]:
    """The tools of the MCP servers that a file names.

    Raises:
        ConfigError: the file or a server cannot be used.
    """
    from tools.mcp import load_mcp_tools

    try:
        return await load_mcp_tools(Path(path))
    except ValueError as error:
        raise ConfigError(str(error)) from error
