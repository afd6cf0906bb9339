"""The tools of a graph: objects and specs in, LangChain tools out, each made once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from graph.context import DEFAULT_TOOLS, Context
from graph.errors import ConfigError


class Toolbox:
    """What the planner may choose from.

    Args:
        tools: LangChain tools, built-in names or import paths; None for the default set.

    Raises:
        ConfigError: two tools bear one name.
    """

    def __init__(self, tools: Sequence[BaseTool | str] | None) -> None:
        self._default: tuple[BaseTool | str, ...] | None = tuple(tools) if tools is not None else None
        self._objects = {tool.name: tool for tool in tools or () if isinstance(tool, BaseTool)}
        names = [tool.name if isinstance(tool, BaseTool) else tool for tool in tools or ()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"Two tools bear the name {twice[0]!r}: give each tool a name of its own.")
        self._made: dict[tuple[str, str, int], BaseTool] = {}
        self._models: dict[int, BaseChatModel] = {}  # keeps the ids above from being used again

    def select(self, context: Context, model: BaseChatModel) -> list[BaseTool]:
        """The tools of one run, in a fixed order.

        Args:
            context: Names the tools, or leaves the choice to the graph, and the corpus of `local_search`.
            model: What `generalist` answers with.

        Raises:
            ConfigError: a name is unknown or a tool lacks what it needs.
        """
        wanted: Sequence[BaseTool | str] | None = context.tools if context.tools is not None else self._default
        if wanted is None:
            wanted = DEFAULT_TOOLS + (("local_search",) if context.corpus else ())
        return [self._get(item, context, model) for item in wanted]

    def _get(self, item: BaseTool | str, context: Context, model: BaseChatModel) -> BaseTool:
        if isinstance(item, BaseTool):
            return item
        if item in self._objects:
            return self._objects[item]
        key = (
            item,
            context.corpus or "" if item == "local_search" else "",
            id(model) if item == "generalist" else 0,
        )
        if key not in self._made:
            from tools.registry import load_tool

            self._models[id(model)] = model
            corpus = Path(context.corpus) if context.corpus else None
            try:
                self._made[key] = load_tool(item, corpus=corpus, model=model)
            except ValueError as error:
                raise ConfigError(str(error)) from error
        return self._made[key]
