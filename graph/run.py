"""What a node has at hand while it works: settings, models, tools, and the two ways to use them.

Nodes are written once, as async functions. Under `invoke` LangGraph calls nodes from plain threads; the node's
coroutine then runs on one background event loop of the process, with the caller's context variables, so that
streaming, tracing, interrupts and tasks work as they do under `ainvoke`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import langgraph.errors
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.func import task

from graph.context import Context
from graph.models.calling import cost_of, replies_of
from graph.models.connections import run_sync
from graph.models.roles import model_for
from graph.models.room import silence
from graph.response_format import ResponseFormat
from graph.roles import Role
from graph.state import RunState, State, Usage, add_usage
from graph.toolbox import Toolbox
from graph.trace import note_reply
from graph.wording import STANDARD, Wording

T = TypeVar("T")


Work = Callable[[Any], Coroutine[Any, Any, T]]


TaskName = Literal["write_arguments", "call_tool"]
"""What a task is called in `updates` streams and in traces."""


# Functions of this module, undecorated: LangGraph then looks at their signatures once, and not at every call.


async def _write_on_loop(work: Work[Any], item: Any) -> Any:
    return await work(item)


def _write_on_thread(work: Work[Any], item: Any) -> Any:
    return run_sync(work(item))


async def _call_on_loop(work: Work[Any], item: Any) -> Any:
    return await work(item)


def _call_on_thread(work: Work[Any], item: Any) -> Any:
    return run_sync(work(item))


_write_on_loop.__name__ = _write_on_thread.__name__ = "write_arguments"
_call_on_loop.__name__ = _call_on_thread.__name__ = "call_tool"
_ON_LOOP = {"write_arguments": task(_write_on_loop), "call_tool": task(_call_on_loop)}
_ON_THREAD = {"write_arguments": task(_write_on_thread), "call_tool": task(_call_on_thread)}


@dataclass
class Run:
    """One entry into one node.

    `usage` collects what the node's model calls cost; the node returns it with its update.
    """

    context: Context
    toolbox: Toolbox
    models: Mapping[str, BaseChatModel | str]
    config: RunnableConfig
    sync: bool
    """Whether the graph runs under `invoke`: LangGraph then wants its tasks as plain functions."""
    wording: Wording = STANDARD
    """The application's own words in the prompts."""
    response_format: ResponseFormat | None = None
    """What the generator fills in beside the answer."""
    seconds_before: float = 0.0
    """Seconds that the run had worked when this node was entered."""
    turn: int = 0
    """Number of the turn in progress, from 1."""
    started: float = field(default_factory=time.perf_counter)
    usage: dict[str, Usage] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds since this node was entered."""
        return time.perf_counter() - self.started

    @property
    def seconds_left(self) -> float:
        """What is left of the run's time budget; whoever started the run may have shortened it meanwhile."""
        own = self.context.max_seconds - self.seconds_before - self.seconds
        given: Callable[[], float] | None = self.config.get("configurable", {}).get("seconds_left")
        return own if given is None else min(own, given())

    async def tools(self) -> list[BaseTool]:
        """The tools of this run, in the order in which the planner reads them.

        Raises:
            ConfigError: a tool's name is unknown or it lacks what it needs.
        """
        model = self.model("generalist")
        if self.toolbox.has_all(self.context, model):
            return self.toolbox.select(self.context, model)
        return await asyncio.to_thread(self.toolbox.select, self.context, model)  # a corpus may have to be indexed

    def model(self, role: Role) -> BaseChatModel:
        """The model of a role."""
        return model_for(role, self.context, self.models)

    def held_to(self, checks: Sequence[T], role: Role) -> Sequence[T]:
        """The checks that the words of a role's model are held to: all, or none (`Context.checks`).

        With `auto` the model says itself whether it is small enough to need them (`needs_checks`).
        """
        setting = self.context.checks
        needed = getattr(self.model(role), "needs_checks", False) if setting == "auto" else setting == "on"
        return checks if needed else ()

    async def ask(
        self, role: Role, messages: Sequence[BaseMessage], *, schema: Mapping[str, Any] | None = None, tag: str = ""
    ) -> AIMessage:
        """Ask the model of a role and count what it cost.

        Args:
            role: Whose model.
            messages: The prompt.
            schema: JSON schema of the reply, with a `title`. Models that can are held to it; the reply is text all the
                same, and whoever asked parses it.
            tag: What streams and traces call the reply, if not by its role.

        Raises:
            ModelError: the model did not answer.
        """
        config = tagged(self.config, tag or role)
        async for reply, began in replies_of(self.model(role), list(messages), config, schema):
            note_reply(role, self._turn_of(role), messages, reply, began)
            self.count(role, cost_of(reply, began))
        return reply

    def _turn_of(self, role: Role) -> int:
        """The turn that a role works for: the analyst comes before the first, the generator after the last."""
        return {"analyst": 0, "generator": self.turn - 1}.get(role, self.turn)

    def count(self, role: str, cost: Usage) -> None:
        """Add to this node's bill."""
        self.usage = add_usage(self.usage, {role: cost})

    async def ask_for(
        self,
        role: Role,
        messages: Sequence[BaseMessage],
        parse: Callable[[str], T | str],
        *,
        schema: Mapping[str, Any] | None = None,
        tag: str = "",
    ) -> T | str:
        """Ask for something that can be parsed, with one attempt to repair a reply that cannot.

        Args:
            role: Whose model.
            messages: The prompt.
            parse: Turns the reply's text into a value, or into a sentence that says what is wrong with it.
            schema, tag: See `ask`.

        Returns:
            The value, or the last complaint.
        """
        reply = await self.ask(role, messages, schema=schema, tag=tag)
        value = parse(str(reply.text))
        if not isinstance(value, str):
            return value
        if (silent := silence(reply)) is not None:  # it was asked twice already
            return silent
        repair = HumanMessage(
            f"That could not be used: {value}. Reply again, in the form asked for and with nothing else."
        )
        known = {key: value for key, value in reply.additional_kwargs.items() if key == "captured"}
        said = AIMessage(reply.text, additional_kwargs=known)
        again = await self.ask(role, [*messages, said, repair], schema=schema, tag=tag)
        value = parse(str(again.text))
        return (silence(again) or value) if isinstance(value, str) else value

    async def in_task(self, name: TaskName, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do one piece of work as a LangGraph task of its own; see `in_tasks`."""
        [result] = await self.in_tasks(name, lambda _: work(), [None])
        return result

    async def in_tasks(self, name: TaskName, work: Work[T], items: Sequence[Any]) -> list[T]:
        """Do `work` on all items at once, each as a LangGraph task of its own.

        With a checkpointer, a task that has finished is not done again when an interrupted node is resumed. A task
        that asks a human does not stop the others: they finish, or ask as well, so that all questions of a step are
        known when the first answer comes.

        Raises:
            GraphInterrupt: tasks ask a human; it holds the questions of all of them.
        """
        tasks: list[asyncio.Future[T]]
        if self.sync:
            tasks = [asyncio.wrap_future(_ON_THREAD[name](work, item)) for item in items]
        else:
            tasks = [asyncio.ensure_future(_ON_LOOP[name](work, item)) for item in items]
        unfinished = set(tasks)
        try:
            while unfinished:
                finished, unfinished = await asyncio.wait(unfinished, return_when=asyncio.FIRST_EXCEPTION)
                for done in finished:
                    if (error := done.exception()) is not None and not waits_for_human(error):
                        raise error
        finally:
            for left in unfinished:
                left.cancel()
        errors = [error for done in tasks if (error := done.exception()) is not None]
        for error in errors:
            if not isinstance(error, GraphInterrupt):
                raise error
        if errors:
            raise GraphInterrupt([question for error in errors for question in error.args[0]])
        return [done.result() for done in tasks]

    @asynccontextmanager
    async def within_budget(self) -> AsyncIterator[None]:
        """Raise `TimeoutError` inside the block when the run's time budget ends; what runs in it is cancelled."""
        async with asyncio.timeout(max(self.seconds_left, 0.0)):
            yield


def tagged(config: RunnableConfig, *tags: str) -> RunnableConfig:
    """The configuration with further tags, by which streams and traces tell calls apart."""
    return {**config, "tags": [*(config.get("tags") or ()), *tags]}


def waits_for_human(error: BaseException) -> bool:
    """Whether an exception is no failure: an interrupt, or an answer to one that has not the form asked for."""
    unfit: Callable[[BaseException], bool] | None = getattr(langgraph.errors, "is_invalid_resume", None)
    return isinstance(error, GraphBubbleUp) or (unfit is not None and unfit(error))


Node = Callable[[RunState, Run], Awaitable[State]]
