"""What a tool is called with: what a model writes, and what the graph adds.

Beside the model's arguments a tool may ask for the graph's state or store, the runtime or the id of its call
(`InjectedState`, `InjectedStore`, `ToolRuntime`, `InjectedToolCallId`). No model is told of these or writes them.
"""

from __future__ import annotations

import inspect
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, StructuredTool, Tool
from langchain_core.tools.base import get_all_basemodel_annotations
from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticUserError

from tools.schemas import Schema, self_contained

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

Supplier = Literal["state", "store", "runtime", "call id", "langchain", "nobody"]

_ALTERNATIVES = ("anyOf", "oneOf", "allOf", "patternProperties", "if")


@dataclass(frozen=True)
class Injection:
    """An argument that no model writes."""

    supplier: Supplier
    """Where its value comes from. LangChain itself passes the configuration; `nobody` supplies what no graph knows."""
    field: str | None = None
    """Of the state: its field, or None for all of it."""
    kind: Any = Any
    """The type that the tool expects."""
    required: bool = True


@dataclass(frozen=True)
class Arguments:
    """The arguments of a tool."""

    schema: Schema
    """JSON schema of what a model writes for one call: a self-contained object."""
    injected: Mapping[str, Injection]
    """What the graph adds, by name."""

    @property
    def names(self) -> list[str]:
        """What a model may fill in."""
        return list(self.schema["properties"])

    @property
    def open(self) -> bool:
        """Whether names may be used that the schema does not list."""
        if "additionalProperties" in self.schema:
            return self.schema["additionalProperties"] is not False
        return any(key in self.schema for key in _ALTERNATIVES)

    @cached_property
    def validator(self) -> Validator | None:
        """Checks calls against the schema; None where that is no schema by any draft."""
        from jsonschema import Draft4Validator, Draft7Validator, Draft202012Validator, SchemaError
        from jsonschema.validators import extend

        drafts: tuple[type[Validator], ...] = (Draft202012Validator, Draft7Validator, Draft4Validator)
        for draft in drafts:
            try:
                draft.check_schema(self.schema, format_checker=None)
            except SchemaError:
                continue
            checker: type[Validator] = extend(draft, {"pattern": _matches_pattern})
            return checker(self.schema)
        return None


def _matches_pattern(_: object, pattern: str, value: object, schema: object) -> Iterator[Exception]:
    """The keyword `pattern`; one in another dialect than Python's is left to whoever wrote it."""
    from jsonschema import ValidationError as SchemaViolation

    with suppress(re.error):
        if isinstance(value, str) and not re.search(pattern, value):
            yield SchemaViolation(f"{value!r} does not match {pattern!r}")


_arguments: dict[int, tuple[weakref.ref[BaseTool], object, Arguments]] = {}


def arguments_of(tool: BaseTool) -> Arguments:
    """The arguments of a tool; worked out once for each tool.

    Raises:
        ValueError: there is no JSON schema of them, or it is not of an object.
    """
    known = _arguments.get(id(tool))
    if known is not None and known[0]() is tool and known[1] is tool.args_schema:
        return known[2]
    injected = _injected(tool)
    schema = _schema(tool)
    hidden = injected.keys() & schema["properties"].keys()
    if hidden:
        schema["properties"] = {name: field for name, field in schema["properties"].items() if name not in hidden}
        required = [name for name in schema.pop("required", ()) if name not in hidden]
        schema |= {"required": required} if required else {}
    made = Arguments(schema, injected)
    place = id(tool)
    _arguments[place] = (weakref.ref(tool, lambda _: _arguments.pop(place, None)), tool.args_schema, made)
    return made


def _schema(tool: BaseTool) -> Schema:
    """The schema of all that the tool lists, without its own name and description, which are told elsewhere."""
    try:
        given: Any = tool.tool_call_schema
        if isinstance(tool, Tool) and tool.args_schema is None:  # one text, which its function takes by place
            given = {"type": "object", "properties": tool.args, "required": list(tool.args)}
        if not isinstance(given, Mapping):
            given = given.model_json_schema() if issubclass(given, BaseModel) else given.schema()
        schema = self_contained(given)
    except (PydanticUserError, ValueError, TypeError, NameError) as error:
        reason = " ".join(str(error).split(". For further")[0].split("\n\n")[0].split())
        raise ValueError(f"The tool {tool.name!r} cannot be offered to a model: {reason}.") from error
    return {key: value for key, value in schema.items() if key not in ("title", "description")}


def _injected(tool: BaseTool) -> dict[str, Injection]:
    injected: dict[str, Injection] = {}
    for function in _given_functions(tool) or [tool._run, tool._arun]:
        hints = _hints(function)
        for name, parameter in inspect.signature(function).parameters.items():
            if name in ("args", "kwargs") and parameter.kind in _VARIADIC and not isinstance(tool.args_schema, dict):
                injected[name] = Injection("nobody", required=False)  # pydantic makes arguments of them
            annotation = hints.get(name, parameter.annotation)
            if injection := _injection(name, annotation, parameter.default is inspect.Parameter.empty):
                injected[name] = injection
    if isinstance(tool.args_schema, type):
        fields = getattr(tool.args_schema, "model_fields", {})
        for name, annotation in get_all_basemodel_annotations(tool.args_schema).items():
            if injection := _injection(name, annotation, name not in fields or fields[name].is_required()):
                injected[name] = injection
    return injected


_RESERVED = frozenset(
    name
    for method in (StructuredTool._run, StructuredTool._arun)
    for name, parameter in inspect.signature(method).parameters.items()
    if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
)
"""Arguments of `StructuredTool`'s own methods: what a model writes for one of the same name gets lost on the way."""
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _given_functions(tool: BaseTool) -> list[Callable[..., Any]]:
    given = (getattr(tool, name, None) for name in ("func", "coroutine"))
    return [function for function in given if callable(function)]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function; one that names something unknown does not hide the others."""
    source = inspect.unwrap(getattr(function, "__func__", function))
    with suppress(Exception):  # what an annotation names may be missing, or code that fails
        return get_type_hints(source, include_extras=True)
    hints: dict[str, Any] = {}
    for name, annotation in getattr(source, "__annotations__", {}).items():
        holder = type("_Holder", (), {"__annotations__": {name: annotation}})
        with suppress(Exception):
            hints |= get_type_hints(holder, getattr(source, "__globals__", {}), include_extras=True)
    return hints


def _injection(name: str, annotation: Any, required: bool) -> Injection | None:
    """What an argument asks the graph for, or None for an argument of the model's."""
    from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime

    injection: Injection | None = None
    kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else Any
    for mark in _marks(annotation):
        cls = mark if isinstance(mark, type) else type(mark)
        if issubclass(cls, ToolRuntime):
            return Injection("runtime", required=required)
        if issubclass(cls, InjectedState):
            return Injection("state", getattr(mark, "field", None), kind, required)
        if issubclass(cls, InjectedStore):
            return Injection("store", None, kind, required)
        if issubclass(cls, InjectedToolCallId):
            return Injection("call id", None, kind, required)
        if mark is RunnableConfig:
            return Injection("langchain", required=False)
        if issubclass(cls, InjectedToolArg):
            # LangGraph gives the runtime to an argument of that name, and the MCP adapters count on it.
            injection = Injection("runtime" if name == "runtime" else "nobody", None, kind, required)
    return injection


def _marks(annotation: Any) -> Iterator[Any]:
    """The types and marks of an annotation, those inside `Annotated` and unions as well."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *marks = get_args(annotation)
        yield from marks
        yield from _marks(inner)
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _marks(part)
    else:
        yield origin or annotation


def check_callable(tool: BaseTool) -> None:
    """Refuse a tool that no call can serve.

    Raises:
        ValueError: its arguments cannot be told to a model, one has a name that LangChain uses itself, or it needs one
            that neither a model nor a graph supplies.
    """
    arguments = arguments_of(tool)
    for name, injection in arguments.injected.items():
        if injection.supplier == "nobody" and injection.required:
            raise ValueError(
                f"The tool {tool.name!r} keeps the argument `{name}` from the model (InjectedToolArg), and nothing in "
                "this graph supplies it: give it a default, or take it from the state, the store or the runtime."
            )
    if isinstance(tool, Tool):
        return
    if taken := _RESERVED.intersection(arguments.names) if _given_functions(tool) else ():
        raise ValueError(
            f"The tool {tool.name!r} has an argument `{min(taken)}`, a name that LangChain uses itself when it calls a "
            "function as a tool: rename it."
        )
    supplied = {*arguments.names, *arguments.injected, *getattr(tool.args_schema, "model_fields", {})}
    for function in _given_functions(tool):
        kinds = [kind for kind in _marks(_hints(function).get("callbacks", Any)) if isinstance(kind, type)]
        if Any in kinds or any(issubclass(kind, BaseCallbackManager) for kind in kinds):
            supplied.add("callbacks")
        for name, parameter in inspect.signature(function).parameters.items():
            needed = parameter.default is parameter.empty and parameter.kind in _BY_NAME
            if needed and name not in supplied:
                raise ValueError(f"The tool {tool.name!r} needs `{name}`, which is not among its arguments.")


def complaint(tool: BaseTool, call: Mapping[str, Any]) -> str | None:
    """What is wrong with the arguments of a call, in one sentence, or None.

    Args:
        tool: Whose call it is.
        call: What a model wrote, without what the graph adds.
    """
    arguments = arguments_of(tool)
    if problem := _unknown(tool, arguments, call):
        return problem
    schema = tool.args_schema
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return _pydantic_complaint(tool, schema, arguments, call)
    return _schema_complaint(tool, arguments, call)


def _unknown(tool: BaseTool, arguments: Arguments, call: Mapping[str, Any]) -> str | None:
    fields = getattr(tool.args_schema, "model_fields", {})  # a field may be named by its alias or, if it likes, itself
    unknown = [name for name in call if name not in arguments.names and name not in fields]
    if not unknown or arguments.open:
        return None
    names = f"its arguments are {', '.join(arguments.names)}" if arguments.names else "it has none"
    return f"{tool.name} has no argument `{unknown[0]}`; {names}"


def _pydantic_complaint(
    tool: BaseTool, schema: type[BaseModel], arguments: Arguments, call: Mapping[str, Any]
) -> str | None:
    try:
        schema.model_validate(dict(call))
    except ValidationError as error:
        for first in error.errors():
            if first["loc"] and first["loc"][0] in arguments.injected:
                continue
            where = ".".join(str(part) for part in first["loc"]) or "the call"
            return f"the argument `{where}` of {tool.name} is wrong: {first['msg']}"
    return None


def _schema_complaint(tool: BaseTool, arguments: Arguments, call: Mapping[str, Any]) -> str | None:
    from jsonschema.exceptions import best_match

    if arguments.validator is None:
        missing = [name for name in arguments.schema.get("required", ()) if name not in call]
        return f"the argument `{missing[0]}` of {tool.name} is missing" if missing else None
    try:
        error = best_match(arguments.validator.iter_errors(dict(call)))
    except re.error:  # in `patternProperties`, from another dialect
        return None
    if error is None:
        return None
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        path = ".".join([*([where] if where else []), *missing[:1]])
        return f"the argument `{path}` of {tool.name} is missing"
    return f"the argument `{where or 'the call'}` of {tool.name} is wrong: {error.message[:300]}"
