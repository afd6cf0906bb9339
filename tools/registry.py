"""Tools by name: the built-in ones, and anybody's by import path."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.tools import BaseTool

BUILT_IN: tuple[str, ...] = (
    "python",
    "wikipedia_search",
    "web_search",
    "read_url",
    "local_search",
    "generalist",
)
"""The names that `load_tool` knows without an import path."""


def load_tool(spec: str, *, corpus: Path | None = None, model: BaseChatModel | None = None) -> BaseTool:
    """The tool that a spec names.

    Args:
        spec: One of `BUILT_IN`, or `package.module:attribute`, where the attribute is a LangChain tool or a function
            without arguments that returns one.
        corpus: What `local_search` searches.
        model: What `generalist` asks.

    Raises:
        ValueError: there is no such tool, or it lacks its corpus or model; the message says what to do.
    """
    if ":" in spec:
        return _imported(spec)
    if spec not in BUILT_IN:
        near = difflib.get_close_matches(spec, BUILT_IN, n=2, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(
            f"There is no tool {spec!r}.{hint} Built in are {', '.join(BUILT_IN)}; "
            "any other tool is named by its import path, package.module:attribute."
        )
    if spec == "local_search":
        from tools.local_search import make_local_search

        if corpus is None:
            raise ValueError("local_search needs a corpus: pass --corpus FILE (JSONL, or a folder of text files).")
        return make_local_search(corpus)
    if spec == "generalist":
        from tools.generalist import make_generalist

        if model is None:
            raise ValueError("generalist needs a model to ask: pass one to load_tool(..., model=...).")
        return make_generalist(model)
    return _factory(spec)()


def _factory(name: str) -> Callable[[], BaseTool]:
    """What makes a built-in tool that needs nothing; only that tool's module is imported."""
    if name == "python":
        from tools.python import make_python_tool

        return make_python_tool
    if name == "wikipedia_search":
        from tools.wikipedia import make_wikipedia_search

        return make_wikipedia_search
    if name == "web_search":
        from tools.web import make_web_search

        return make_web_search
    from tools.page import make_read_url

    return make_read_url


def _imported(spec: str) -> BaseTool:
    from langchain_core.tools import BaseTool

    module_name, _, attribute = spec.partition(":")
    if not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise ValueError(f"{spec!r} is no import path. Write package.module:attribute.")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"The tool {spec!r} cannot be imported: {error}.") from error
    try:
        found = getattr(module, attribute)
    except AttributeError:
        raise ValueError(f"The module {module_name} has no {attribute!r}, which the tool {spec!r} names.") from None
    made = found if isinstance(found, BaseTool) else found() if callable(found) else found
    if not isinstance(made, BaseTool):
        raise ValueError(
            f"{spec!r} is a {type(made).__name__}. It must be a LangChain tool, or a function that returns one."
        )
    return made
