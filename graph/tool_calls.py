"""A single call of a tool: its arguments, its result as text, and its errors.

Tools are third-party code. Whatever a tool raises ends only its own call: its `TimeoutError` is not the time limit,
its `CancelledError` is not a cancellation, and its `SystemExit` does not end the process. Whatever stops the run from
outside (a cancelled task, Ctrl-C, an interrupt for a human) is passed on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_type_hints

from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.messages import BaseMessage, ToolMessage, convert_to_messages
from langchain_core.runnables import RunnableConfig, patch_config
from langchain_core.tools import BaseTool, StructuredTool, Tool, ToolException
from langgraph.config import get_config
from langgraph.types import Command
from pydantic import ValidationError
from typing_extensions import TypedDict

from graph.errors import AgentFlowError
from graph.injection import added_arguments
from graph.rendering import clip
from graph.run import Run, waits_for_human
from graph.state import Failure, State, ToolCall, Usage
from graph.trace import ToolModel, note_call
from tools.arguments import arguments_of
from tools.card import card_of, time_limit_of
from tools.errors import ToolUnavailable
from tools.places import time_limit
from tools.results import MORE, MOST_PARTS, as_text, error_text, shown
from tools.secrecy import without_secrets
from tools.text import well_formed
from tools.threads import on_own_thread


class FinishedCall(TypedDict):
    """Result of the task of one call."""

    call: ToolCall
    usage: dict[str, Usage]
    """Cost of a model that the tool used."""


async def call_tool(tool: BaseTool, arguments: Mapping[str, Any], *, state: State, run: Run) -> FinishedCall:
    """Call a tool once, within its own time limit and the run's; its exceptions become the error of the call.

    Args:
        tool: The tool.
        arguments: The arguments written by the model.
        state: The graph's state, for tools that ask for it.
        run: The calling node.

    Raises:
        ModelError: the tool used a model, which did not answer.
        SandboxError: code cannot be isolated on this machine.
    """
    limit = max(min(time_limit_of(tool), run.seconds_left), 0.0)
    began = time.perf_counter()
    result, error = "", None
    role = card_of(tool).asks_role
    meter = ToolModel(role, run.turn)
    config = _own_config()
    if role:
        callbacks = AsyncCallbackManager.configure(config.get("callbacks"))
        callbacks.add_handler(meter)
        config["callbacks"] = callbacks
    work = _Work(tool)
    try:
        async with time_limit(limit) as clock:
            result, error = await work.result(arguments, state, run, config)
    except TimeoutError as problem:
        error = _failure(work, problem)
        if clock.expired():
            error = Failure(kind="timeout", message=f"{tool.name} did not finish within {limit:.3g} seconds")
    except AgentFlowError:
        raise
    except asyncio.CancelledError as problem:
        if _is_cancelled():
            raise
        error = _failure(work, problem)
    except (Exception, SystemExit) as problem:  # a user's tool may raise anything, and the planner can act on it
        if waits_for_human(problem):
            raise
        error = _failure(work, problem)
    note_call(tool.name, run.turn, began)
    if error is not None:
        error["message"] = clip(without_secrets(well_formed(error["message"])), run.context.max_result_chars)
    seconds = time.perf_counter() - began
    result = clip(well_formed(result), run.context.max_result_chars)
    call = ToolCall(arguments=dict(arguments), result=result, error=error, seconds=seconds)
    return FinishedCall(call=call, usage={role: meter.usage(seconds)} if role else {})


def _tell_signature(watched: Callable[..., Any]) -> None:
    """Spare LangChain, which reads a function's signature and type hints at every call, finding them out anew."""
    function = getattr(watched.__wrapped__, "__func__", None)  # type: ignore[attr-defined]
    if function is not None:
        watched.__signature__, watched.__annotations__ = _signature_of(function)  # type: ignore[attr-defined]


@functools.lru_cache(maxsize=256)
def _signature_of(method: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    """Of a method, without its object."""
    signature = inspect.signature(method)
    try:
        hints = get_type_hints(method, include_extras=True)
    except Exception:  # noqa: BLE001 - names that exist for type checkers only; LangChain takes them as unknown, too
        hints = dict(method.__annotations__)
    _, *parameters = signature.parameters.values()
    known = [each.replace(annotation=hints.get(each.name, each.annotation)) for each in parameters]
    return signature.replace(parameters=known), hints


class _Ended(Exception):
    """Wraps a tool's exception that would otherwise stop the event loop."""


@dataclass
class _Work:
    """A call in progress, observed below LangChain's handling of results and errors."""

    tool: BaseTool
    entered: bool = False
    """Whether the tool's own code was executed."""
    returned: bool = False
    value: Any = None
    """Its result, before LangChain turned it into a message."""
    raised: BaseException | None = None
    """Its exception, before LangChain handled it."""

    async def result(
        self, arguments: Mapping[str, Any], state: State, run: Run, config: RunnableConfig
    ) -> tuple[str, Failure | None]:
        """Call the tool; returns the text of its result, or a failure that it reports without raising."""
        call_id = _call_id(config)
        all_arguments = {**arguments, **added_arguments(self.tool, state, run.context, config, call_id)}
        request: dict[str, Any] = all_arguments
        if any(injection.supplier == "call id" for injection in arguments_of(self.tool).injected.values()):
            request = {"name": self.tool.name, "args": all_arguments, "id": call_id, "type": "tool_call"}
        watched = self._watched()
        if _blocks(self.tool):
            output = await on_own_thread(watched.invoke, request, config)
        else:
            output = await watched.ainvoke(request, config)
        if self.raised is not None:  # `handle_tool_error` turned it into text
            return "", Failure(kind="tool", message=as_text(output))
        if not self.entered and self.tool.handle_validation_error:
            return "", Failure(kind="arguments", message=as_text(output))
        value = self.value if self.returned else output
        if self.tool.response_format == "content_and_artifact" and self.returned:
            value = _told(*value)
        return await _text(self.tool, await _settled(value))

    def _watched(self) -> BaseTool:
        """A copy of the tool whose code is observed; a copy, because there may be concurrent calls."""
        run, arun = self.tool._run, self.tool._arun

        @functools.wraps(run)
        def watched_run(*args: Any, **kwargs: Any) -> Any:
            with self._watching():
                self.value = run(*args, **kwargs)
            self.returned = True
            return self.value

        @functools.wraps(arun)
        async def watched_arun(*args: Any, **kwargs: Any) -> Any:
            with self._watching():
                self.value = await arun(*args, **kwargs)
            self.returned = True
            return self.value

        for watched in (watched_run, watched_arun):
            _tell_signature(watched)
        getattr(
            self.tool, "_injected_args_keys", None
        )  # LangChain keeps it with the tool: each copy would find it anew
        copy = self.tool.model_copy()
        object.__setattr__(copy, "_run", watched_run)  # bypasses pydantic, which has no such field
        object.__setattr__(copy, "_arun", watched_arun)
        return copy

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self.entered = True
        task = _current_task()
        try:
            yield
        except StopIteration as error:
            self.raised = error
            raise _Ended from error
        except Exception as error:
            self.raised = error
            raise
        except BaseException as error:
            if _is_from_outside(error, task):
                raise
            self.raised = error
            raise _Ended from error


def _blocks(tool: BaseTool) -> bool:
    """Whether the tool is a plain function, which LangChain would call on the event loop's pool of threads."""
    if type(tool).ainvoke not in (BaseTool.ainvoke, StructuredTool.ainvoke, Tool.ainvoke):
        return False
    if isinstance(tool, StructuredTool | Tool):
        return tool.coroutine is None
    return type(tool)._arun is BaseTool._arun


def _is_from_outside(error: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Whether the run is being stopped, as opposed to a tool raising in this task (or in a thread without one)."""
    if isinstance(error, asyncio.CancelledError):
        return _is_cancelled()
    if isinstance(error, GeneratorExit):  # a coroutine is closed outside of its own task
        return _current_task() is not task
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()  # Ctrl-C


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # a thread without an event loop
        return None


def _is_cancelled() -> bool:
    task = _current_task()
    return task is not None and task.cancelling() > 0


def _failure(work: _Work, problem: BaseException) -> Failure:
    """The failure that the planner is told for a call's exception."""
    problem = work.raised or problem
    if isinstance(problem, RuntimeError) and isinstance(problem.__cause__, StopIteration | StopAsyncIteration):
        problem = problem.__cause__  # how coroutines wrap it
    if isinstance(problem, ToolUnavailable):
        return Failure(kind="unavailable", message=shown(problem))
    if isinstance(problem, ToolException):
        return Failure(kind="tool", message=shown(problem))
    if isinstance(problem, ValidationError) and not work.entered:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the call"
        return Failure(kind="arguments", message=f"the argument `{where}` of {work.tool.name} is wrong: {first['msg']}")
    return Failure(kind="tool", message=error_text(problem))


def _told(content: Any, artifact: Any) -> Any:
    """The part of a two-part result to show to models: the content, or the artifact if there is nothing else."""
    if isinstance(content, str | list | tuple | None) and not content:
        if isinstance(artifact, Mapping) and "structured_content" in artifact:  # from an MCP server, via the adapters
            return artifact["structured_content"]
        return artifact
    return content


async def _settled(value: Any) -> Any:
    """The final value: awaitables are awaited, and asynchronous iterators are exhausted."""
    while inspect.isawaitable(value):
        value = await value
    if not isinstance(value, AsyncIterator):
        return value
    parts: list[Any] = []
    async for part in value:
        if len(parts) == MOST_PARTS:
            return [*parts, MORE]
        parts.append(part)
    return parts


async def _text(tool: BaseTool, value: Any) -> tuple[str, Failure | None]:
    """The text of a result, or the failure that it reports."""
    parts = value if isinstance(value, list) and value and all(map(_is_output, value)) else [value]
    texts = []
    for part in parts:
        if isinstance(part, Command):
            messages = _messages(part)
            if messages is None:
                return "", Failure(
                    kind="tool",
                    message=f"{tool.name} returned a Command that does more than add a ToolMessage; this graph keeps "
                    "its own state and edges, so let the tool return its result",
                )
            part = [message.text for message in messages if isinstance(message, ToolMessage)] or messages
            part = "\n".join(map(as_text, part))
        elif isinstance(part, ToolMessage) and part.status == "error":
            return "", Failure(kind="tool", message=as_text(part))
        # Converting a long result takes time, and an iterator may do anything.
        texts.append(part if isinstance(part, str) else await on_own_thread(as_text, part))
    return "\n".join(texts), None


def _is_output(value: Any) -> bool:
    return isinstance(value, ToolMessage | Command)


def _messages(command: Command[Any]) -> Sequence[BaseMessage] | None:
    """The messages that a command adds; None if it does anything else."""
    update = command.update
    if command.goto or command.resume is not None or command.graph is not None:
        return None
    if isinstance(update, Mapping):
        if update.keys() - {"messages"}:
            return None
        update = update.get("messages", [])
    return convert_to_messages(update if isinstance(update, list | tuple) else [update] if update else [])


def _call_id(config: RunnableConfig) -> str:
    """The id of a call: that of its task, so it stays the same when the run is resumed."""
    place = str(config.get("configurable", {}).get("checkpoint_ns", ""))
    return f"call_{place.rpartition(':')[2] or uuid.uuid4().hex}"


def _own_config() -> RunnableConfig:
    """The configuration of this call's task, which associates a human's answers with their questions.

    LangGraph gives an answer without a question's id to any later question of the step that has no answer of its own.
    If this resume names the questions it answers, such an answer must not be used.
    """
    config = patch_config(get_config())
    settings = config.get("configurable", {})
    answers = settings.get("__pregel_scratchpad")
    if answers is not None and settings.get("__pregel_resume_map"):
        alone = dataclasses.replace(answers, get_null_resume=_no_answer)
        config["configurable"] = {**settings, "__pregel_scratchpad": alone}
    return config


def _no_answer(consume: bool = False) -> None:
    """Replaces an answer that was given without an id."""
