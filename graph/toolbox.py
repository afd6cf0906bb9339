"""The tools of a graph: turns tool objects and specs into LangChain tools, each created once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from graph.command_line import did_you_mean
from graph.context import DEFAULT_TOOLS, Context
from graph.errors import ConfigError
from graph.injection import check_injections
from graph.parsing import without_thinking
from graph.state import FINISH

ToolLike: TypeAlias = BaseTool | Callable[..., Any] | str
"""Everything a graph accepts as a tool: a LangChain tool, a function, a built-in name or an import path."""


class Toolbox:
    """The tools the planner may choose from.

    Args:
        tools: LangChain tools, functions, built-in names or import paths; None means the default set.
        corpus: What `local_search` searches, unless a run's context names another corpus.

    Raises:
        ConfigError: two tools have the same name, or one cannot be called.
    """

    def __init__(self, tools: Sequence[ToolLike] | None, corpus: str | Path | None = None) -> None:
        if isinstance(tools, str | BaseTool) or callable(tools):
            raise ConfigError(f"`tools` is one {type(tools).__name__}, and no list; write tools=[...] around it.")
        items = [tool if isinstance(tool, str) else _usable(tool) for tool in tools or ()]
        self._default: tuple[BaseTool | str, ...] | None = tuple(items) if tools is not None else None
        self._objects = {tool.name: tool for tool in items if isinstance(tool, BaseTool)}
        names = [tool.name if isinstance(tool, BaseTool) else tool for tool in items]
        _check_names(names)
        self._corpus = str(corpus) if corpus else ""
        self._made: dict[tuple[str, str, int], BaseTool] = {}
        self._lock = threading.Lock()
        self._models: dict[int, BaseChatModel] = {}  # keeps the ids in the keys from being reused

    @property
    def names(self) -> list[str]:
        """The graph's own tools, by name, or by import path where that is how the graph names them."""
        return [item if isinstance(item, str) else item.name for item in self._wanted(Context())]

    def select(self, context: Context, model: BaseChatModel) -> list[BaseTool]:
        """The tools of one run, in a fixed order.

        Args:
            context: The run's settings: its tools, if it limits them, and the corpus of `local_search`.
            model: The model of `generalist`.

        Raises:
            ConfigError: a name is unknown, or a tool lacks something it needs.
        """
        with self._lock:
            tools = [self._get(item, context, model) for item in self._wanted(context)]
        names = [tool.name for tool in tools]
        _check_names(names)  # names of imported tools are only known now
        for name in context.ask_before:
            if name not in names:
                hint = did_you_mean(name, names)
                raise ConfigError(
                    f"The setting `ask_before` names {name!r}, which is no tool of this run.{hint} Its tools are "
                    f"{', '.join(names)}."
                )
        return tools

    def has_all(self, context: Context, model: BaseChatModel) -> bool:
        """Whether all tools exist already, so that `select` returns at once."""
        return all(
            isinstance(item, BaseTool) or item in self._objects or self._key(item, context, model) in self._made
            for item in self._wanted(context)
        )

    def _wanted(self, context: Context) -> Sequence[BaseTool | str]:
        if context.tools is not None:
            return context.tools
        if self._default is not None:
            return self._default
        return DEFAULT_TOOLS + (("local_search",) if context.corpus or self._corpus else ())

    def _get(self, item: BaseTool | str, context: Context, model: BaseChatModel) -> BaseTool:
        if isinstance(item, BaseTool):
            return item
        if item in self._objects:
            return self._objects[item]
        key = self._key(item, context, model)
        if key not in self._made:
            from tools.registry import load_tool

            self._models[id(model)] = model
            place = context.corpus or self._corpus
            try:
                tool = load_tool(item, corpus=Path(place) if place else None, model=model, read=without_thinking)
            except ValueError as error:
                raise ConfigError(str(error)) from error
            self._made[key] = _usable(tool)
        return self._made[key]

    def _key(self, spec: str, context: Context, model: BaseChatModel) -> tuple[str, str, int]:
        """Everything that a tool made from a spec depends on."""
        corpus = (context.corpus or self._corpus) if spec == "local_search" else ""
        return spec, corpus, id(model) if spec == "generalist" else 0


def _check_names(names: Sequence[str]) -> None:
    """Refuse names that would call no tool, or the wrong one."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"Two tools have the name {twice[0]!r}: give each tool a name of its own.")
    if FINISH in names:
        raise ConfigError(f"A tool bears the name {FINISH!r}, by which the planner ends a run: give it another.")
    if not all(name.strip() for name in names):
        raise ConfigError("A tool has no name: give it one.")


def _usable(item: object) -> BaseTool:
    from tools.registry import as_tool

    try:
        tool = as_tool(item)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    check_injections(tool)
    return tool
