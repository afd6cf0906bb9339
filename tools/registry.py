"""Tools by name: the built-in ones, and anybody's by import path; and plain functions made into tools."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.counts import kind_of

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


def load_tool(
    spec: str,
    *,
    corpus: Path | None = None,
    model: BaseChatModel | None = None,
    read: Callable[[str], str] = str.strip,
) -> BaseTool:
    """The tool that a spec names.

    Args:
        spec: One of `BUILT_IN`, or `package.module:attribute`, where the attribute is a LangChain tool, a function
            without arguments that returns one, or a function with arguments that is to be the tool.
        corpus: What `local_search` searches.
        model: What `generalist` asks.
        read: What of its model's reply is the answer.

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
        return make_generalist(model, read=read)
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
    if not isinstance(found, BaseTool) and callable(found):
        found = as_tool(found) if _takes_arguments(found) else found()
    if not isinstance(found, BaseTool):
        raise ValueError(
            f"{spec!r} is {kind_of(found)}. It must be a LangChain tool, a function that returns one, or a "
            "function with arguments and a docstring."
        )
    return found


def _takes_arguments(function: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(parameter.default is parameter.empty and parameter.kind not in _VARIADIC for parameter in parameters)


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def as_tool(item: object) -> BaseTool:
    """A tool, or a plain function as a tool: named after it, described by its docstring, called with its arguments.

    Args:
        item: A LangChain tool, or a function, synchronous or not; `*args` and `**kwargs` of a function stay empty.

    Raises:
        ValueError: it is neither, or nobody could call it; the message says what to do.
    """
    from langchain_core.tools import BaseTool, tool

    from tools.arguments import check_callable

    if isinstance(item, BaseTool):
        check_callable(item)
        return item
    if isinstance(item, dict):
        kind = item.get("type") or item.get("name") or "without a name"
        raise ValueError(
            f"The tool {kind!r} is a dict, which describes a tool that a model's provider runs. The executor runs its "
            "tools itself: give it a LangChain tool or a function."
        )
    name = getattr(item, "__name__", None)
    if not callable(item) or isinstance(item, type) or not isinstance(name, str):
        raise ValueError(
            f"An object of the class {type(item).__name__} is no tool. Give a LangChain tool, or a function with a "
            "docstring; other callables become one with StructuredTool.from_function(..., name=...)."
        )
    if name == "<lambda>" or not inspect.getdoc(item):
        raise ValueError(f"The function {name} has no docstring, which is what models are told about it: write one.")
    parameters = inspect.signature(item).parameters
    if unnamed := [each for each, p in parameters.items() if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]:
        raise ValueError(f"The function {name} takes {unnamed[0]!r} by position only; tools are called by name.")
    try:
        made = tool(item)
    except Exception as error:
        raise ValueError(f"The function {name} cannot be made a tool: {error}.") from error
    made = _without(made, [each for each, p in parameters.items() if p.kind in (*_VARIADIC, p.POSITIONAL_ONLY)])
    check_callable(made)
    return made


def _without(made: BaseTool, names: Sequence[str]) -> BaseTool:
    """The tool without the arguments that pydantic makes up for those which cannot be given by name."""
    from pydantic import BaseModel, create_model

    schema = made.args_schema
    if not names or not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        return made
    made_up = {*names, *(f"v__{name}" for name in names), "v__positional_only"}
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in schema.model_fields.items() if name not in made_up
    }
    config = schema.model_config
    return made.model_copy(update={"args_schema": create_model(schema.__name__, __config__=config, **fields)})
