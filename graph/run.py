"""What a node works with: settings, models, tools, and LangGraph tasks.

Nodes are written once, as async functions. Under `invoke` LangGraph calls nodes from plain threads; the node's
coroutine then runs on the process's background event loop, with the caller's context variables, so that streaming,
tracing, interrupts and tasks work as they do under `ainvoke`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import langgraph.errors
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.constants import TAG_NOSTREAM
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.func import task

from graph.chat import Attachment, attachments_in, instructions_in, with_attachments
from graph.context import Context
from graph.errors import ConfigError
from graph.models.calling import cost_of, replies_of
from graph.models.connections import run_sync
from graph.models.roles import is_small, model_for
from graph.models.room import silence
from graph.models.senses import senses
from graph.parsing.complaints import Hopeless
from graph.prompts import StepForm
from graph.response_format import ResponseFormat
from graph.roles import Role
from graph.state import RunState, State, Usage, add_usage
from graph.toolbox import Toolbox
from graph.trace import note_reply
from graph.wording import STANDARD, Wording

T = TypeVar("T")

Work = Callable[[Any], Coroutine[Any, Any, T]]

TaskName = Literal["write_arguments", "call_tool"]
"""Names of the tasks in `updates` streams and in traces."""


# LangGraph caches a task's signature only if the plain function can be found in its module by name.


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
    """One execution of one node.

    `usage` sums up the node's model calls; the node returns it with its update.
    """

    context: Context
    toolbox: Toolbox
    models: Mapping[str, BaseChatModel | str]
    config: RunnableConfig
    sync: bool
    """Whether the graph runs under `invoke`, where LangGraph needs plain functions as tasks."""
    approvals: Collection[str] = ()
    """The tools whose calls need a human's approval, by the context and by what the run began with."""
    wording: Wording = STANDARD
    """The application's wording of the prompts."""
    response_format: ResponseFormat | None = None
    """The form of the structured response, if there is to be one."""
    attachments: Sequence[Attachment] = ()
    """What comes with the chat besides its texts."""
    seconds_before: float = 0.0
    """Seconds the run had worked before this node."""
    turn: int = 0
    """Number of the turn in progress, from 1."""
    started: float = field(default_factory=time.perf_counter)
    usage: dict[str, Usage] = field(default_factory=dict)
    _model_of: dict[Role, BaseChatModel] = field(default_factory=dict, repr=False)
    _tools: list[BaseTool] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        configurable = self.config.get("configurable", {})
        limit, callers = configurable.get("seconds_left"), configurable.get("models") or {}
        if limit is not None and not callable(limit):
            raise ConfigError("`configurable` holds a `seconds_left` that is no function: set `max_seconds` instead.")
        if not isinstance(callers, Mapping):
            raise ConfigError("`configurable` holds `models` that are no chat models by role.")
        # The caller's own chat models for single roles, so that runs with other models can share one graph.
        own = {role: model for role, model in callers.items() if isinstance(model, BaseChatModel)}
        if own:
            self.models = {**self.models, **own}

    @property
    def seconds(self) -> float:
        """Seconds since this node was entered."""
        return time.perf_counter() - self.started

    @property
    def seconds_left(self) -> float:
        """The rest of the run's time budget; the caller may have shortened it (`configurable["seconds_left"]`)."""
        own = self.context.max_seconds - self.seconds_before - self.seconds
        callers: Callable[[], float] | None = self.config.get("configurable", {}).get("seconds_left")
        return own if callers is None else min(own, callers())

    @property
    def resumable(self) -> bool:
        """Whether a checkpointer may keep the run: it needs a thread. For other runs tasks would be in vain."""
        return "thread_id" in self.config.get("configurable", {})

    async def tools(self) -> list[BaseTool]:
        """The tools of this run, in the planner's order.

        Raises:
            ConfigError: a tool's name is unknown or it lacks what it needs.
        """
        if self._tools is None:
            model = self.model("generalist")
            if self.toolbox.has_all(self.context, model):
                self._tools = self.toolbox.select(self.context, model)
            else:  # a corpus may have to be indexed
                self._tools = await asyncio.to_thread(self.toolbox.select, self.context, model)
        return self._tools

    def model(self, role: Role) -> BaseChatModel:
        """The model of a role."""
        if role not in self._model_of:
            self._model_of[role] = model_for(role, self.context, self.models)
        return self._model_of[role]

    def held_to(self, checks: Sequence[T], role: Role) -> Sequence[T]:
        """The checks to apply to a role's replies: all of `checks`, or none (`Context.checks`).

        With `auto` the role's model decides: those of small ones (`is_small`) are held to them.
        """
        setting = self.context.checks
        needed = is_small(self.model(role)) if setting == "auto" else setting == "on"
        return checks if needed else ()

    def analyses(self, *, chat: bool) -> bool:
        """Whether the question is analysed before the first step; `chat`: it continues a conversation."""
        return self.context.analyses(is_small=is_small(self.model("planner")), chat=chat)

    @property
    def step_form(self) -> StepForm:
        """The form of the planner's replies."""
        return StepForm.of(self.context, is_small=is_small(self.model("planner")))

    def hear(self, chat: Sequence[BaseMessage]) -> None:
        """Take instructions and attachments from a chat; every role gets them.

        Raises:
            DataError: a message holds something that no model can be given.
        """
        self.wording = self.wording.and_told(instructions_in(chat))
        self.attachments = attachments_in(chat)

    async def ask(
        self,
        role: Role,
        messages: Sequence[BaseMessage],
        *,
        schema: Mapping[str, Any] | None = None,
        tag: str = "",
        streamed: bool = True,
    ) -> AIMessage:
        """Ask the model of a role, and count the cost.

        Args:
            role: Whose model.
            messages: The prompt.
            schema: JSON schema of the reply, with a `title`. Models that support it are constrained to it; the reply is
                text in any case, and the caller parses it.
            tag: Tag of the reply in streams and traces; default: the role.
            streamed: Whether the reply appears in streams of messages while it is written.

        Raises:
            ModelError: the model did not answer.
        """
        config = tagged(self.config, tag or role, *(() if streamed else (TAG_NOSTREAM,)))
        model = self.model(role)
        prompt = with_attachments(
            messages, [came for came in self.attachments if senses(model, came.kind) is not False]
        )
        async for reply, began in replies_of(model, prompt, config, schema):
            note_reply(role, self._turn_of(role), messages, reply, began)
            self.count(role, cost_of(reply, began))
        return reply

    def _turn_of(self, role: Role) -> int:
        """The turn of a role's call: the analyst works before the first, the generator after the last."""
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
        """Ask for a reply that can be parsed; if it cannot, ask once for a repair.

        Args:
            role: Whose model.
            messages: The prompt.
            parse: Returns a value, or a sentence that says what is wrong with the reply's text. Of a `Hopeless` one no
                repair is asked for.
            schema, tag: See `ask`.

        Returns:
            The value, or the last complaint.
        """
        reply = await self.ask(role, messages, schema=schema, tag=tag)
        value = parse(str(reply.text))
        if not isinstance(value, str) or isinstance(value, Hopeless):
            return value
        if (silent := silence(reply)) is not None:  # it was asked twice already
            return silent
        repair = HumanMessage(
            f"That could not be used: {value}. Reply again, in the form asked for and with nothing else."
        )
        tokens = {key: value for key, value in reply.additional_kwargs.items() if key == "captured"}
        first = AIMessage(reply.text, additional_kwargs=tokens)
        second = await self.ask(role, [*messages, first, repair], schema=schema, tag=tag)
        value = parse(str(second.text))
        return (silence(second) or value) if isinstance(value, str) else value

    async def in_task(self, name: TaskName, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do one piece of work as a LangGraph task; see `in_tasks`."""
        if not self.resumable:
            return await work()
        [result] = await self.in_tasks(name, lambda _: work(), [None])
        return result

    async def in_tasks(self, name: TaskName, work: Work[T], items: Sequence[Any]) -> list[T]:
        """Do `work` on all items concurrently, each as a LangGraph task if the run is resumable.

        Finished tasks are not repeated when an interrupted node is resumed. A task that asks a human does not stop the
        others: they finish or ask as well, so that all questions of a step are known before the first answer.

        Raises:
            GraphInterrupt: tasks ask a human; it contains all their questions.
        """
        tasks: list[asyncio.Future[T]]
        if not self.resumable:
            tasks = [asyncio.ensure_future(work(item)) for item in items]
        elif self.sync:
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

    def within_budget(self) -> asyncio.Timeout:
        """Cancel the block with `TimeoutError` when the run's time budget is used up."""
        return asyncio.timeout(max(self.seconds_left, 0.0))


def tagged(config: RunnableConfig, *tags: str) -> RunnableConfig:
    """The configuration with more tags, which distinguish calls in streams and traces."""
    return {**config, "tags": [*(config.get("tags") or ()), *tags]}


def waits_for_human(error: BaseException) -> bool:
    """Whether an exception is not a failure: it is an interrupt, or an answer to one in the wrong format."""
    unfit: Callable[[BaseException], bool] | None = getattr(langgraph.errors, "is_invalid_resume", None)
    return isinstance(error, GraphBubbleUp) or (unfit is not None and unfit(error))


Node = Callable[[RunState, Run], Awaitable[State]]
