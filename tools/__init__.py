"""What the executor can call: LangChain tools, each with a card and a time limit.

`load_tool("wikipedia_search")` makes a tool by name; `make_...` functions take its settings. Importing this package
costs nothing: each name is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.card import ToolCard, card_of, time_limit_of
    from tools.errors import ToolUnavailable
    from tools.generalist import make_generalist
    from tools.local_search import LocalIndex, make_local_search
    from tools.mcp import load_mcp_tools
    from tools.page import make_read_url
    from tools.passages import Passage
    from tools.python import make_python_tool
    from tools.registry import BUILT_IN, load_tool
    from tools.web import WebSearchSettings, make_web_search
    from tools.wikipedia import make_wikipedia_search

__all__ = [
    "BUILT_IN",
    "LocalIndex",
    "Passage",
    "ToolCard",
    "ToolUnavailable",
    "WebSearchSettings",
    "card_of",
    "load_mcp_tools",
    "load_tool",
    "make_generalist",
    "make_local_search",
    "make_python_tool",
    "make_read_url",
    "make_web_search",
    "make_wikipedia_search",
    "time_limit_of",
]

_HOME = {
    "BUILT_IN": "registry",
    "LocalIndex": "local_search",
    "Passage": "passages",
    "ToolCard": "card",
    "ToolUnavailable": "errors",
    "WebSearchSettings": "web",
    "card_of": "card",
    "load_mcp_tools": "mcp",
    "load_tool": "registry",
    "make_generalist": "generalist",
    "make_local_search": "local_search",
    "make_python_tool": "python",
    "make_read_url": "page",
    "make_web_search": "web",
    "make_wikipedia_search": "wikipedia",
    "time_limit_of": "card",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"tools.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
