"""Arguments that the graph injects into calls of tools that ask for them: state, store, runtime, id of the call.

The annotations are LangGraph's (`InjectedState`, `InjectedStore`, `ToolRuntime`, `InjectedToolCallId`), with the same
meaning as under `create_agent`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import NoneType
from typing import Any, get_args

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from langgraph.runtime import get_runtime
from pydantic import BaseModel

from graph.context import Context
from graph.errors import ConfigError
from graph.state import State
from tools.arguments import Injection, arguments_of

FIELDS = frozenset(State.__annotations__)


def check_injections(tool: BaseTool) -> None:
    """Refuse a tool that needs a field which this graph's state does not have.

    Raises:
        ConfigError: there is no such field.
    """
    for injection in arguments_of(tool).injected.values():
        if injection.supplier != "state" or not injection.required:
            continue
        required = [injection.field] if injection.field else _required_fields(injection.kind)
        if missing := [name for name in required if name not in FIELDS]:
            raise ConfigError(
                f"The tool {tool.name!r} wants `{missing[0]}` from the state, which this graph does not keep; "
                f"its state has {', '.join(sorted(FIELDS))}."
            )


def _required_fields(kind: Any) -> list[str]:
    """The required fields of a type of state."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [name for name, field in kind.model_fields.items() if field.is_required()]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        missing = dataclasses.MISSING
        fields = dataclasses.fields(kind)
        return [field.name for field in fields if field.default is missing and field.default_factory is missing]
    return sorted(getattr(kind, "__required_keys__", ()))


def added_arguments(
    tool: BaseTool, state: State, context: Context, config: RunnableConfig, call_id: str
) -> dict[str, Any]:
    """The injected arguments of one call.

    Args:
        tool: The tool.
        state: The graph's state when the step was planned.
        context: The run's settings.
        config: The configuration of the call's task.
        call_id: The id of the call.

    Raises:
        ToolException: the tool needs a store and the graph has none.
    """
    values: dict[str, Any] = {}
    for name, injection in arguments_of(tool).injected.items():
        if injection.supplier == "state":
            if injection.field is None:
                values[name] = _whole(state, injection.kind)
            elif injection.field in state or injection.required:
                values[name] = state.get(injection.field)
        elif injection.supplier == "store":
            values[name] = _store(tool, injection)
        elif injection.supplier == "runtime":
            values[name] = _tool_runtime(state, context, config, call_id)
        elif injection.supplier == "call id":
            values[name] = call_id
    return values


def _whole(state: State, kind: Any) -> Any:
    """The state in the type that the tool expects: a class of its own, or a dict."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_validate(dict(state))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
        return kind(**{name: state.get(name) for name in names if name in state})
    return dict(state)


def _store(tool: BaseTool, injection: Injection) -> Any:
    store = get_runtime(Context).store
    if store is None and injection.kind is not Any and NoneType not in get_args(injection.kind):
        raise ToolException(f"{tool.name} needs a store, and this graph has none: build_graph(store=...)")
    return store


def _tool_runtime(state: State, context: Context, config: RunnableConfig, call_id: str) -> Any:
    """LangGraph's `ToolRuntime` for one call, with the fields of the installed version."""
    from langgraph.prebuilt import ToolRuntime

    runtime = get_runtime(Context)
    known: Mapping[str, Any] = {
        "state": dict(state),
        "context": context,
        "config": config,
        "stream_writer": runtime.stream_writer,
        "tool_call_id": call_id,
        "store": runtime.store,
        "execution_info": getattr(runtime, "execution_info", None),
        "server_info": getattr(runtime, "server_info", None),
    }
    names = {field.name for field in dataclasses.fields(ToolRuntime)}
    return ToolRuntime(**{name: value for name, value in known.items() if name in names})
