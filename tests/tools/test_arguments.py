"""What a model is asked for, what it is not asked for, and which calls are let through."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import Callbacks
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, StructuredTool, Tool, tool
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as OldModel

from tools.arguments import arguments_of, check_callable, complaint
from tools.card import card_of


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Address(BaseModel):
    street: str = Field(description="street and number")
    city: str | None = None


class Order(BaseModel):
    ship_to: Address
    size: Size = Size.SMALL


class OldOrder(OldModel):
    amount: int


def from_schema(schema: Any) -> BaseTool:
    return StructuredTool(name="odd", description="A tool.", args_schema=schema, func=lambda **_: "")


@tool
def everything(
    x: int,
    state: Annotated[dict[str, Any], InjectedState],
    question: Annotated[str, InjectedState("question")],
    store: Annotated[Any, InjectedStore()],
    runtime: ToolRuntime[Any, Any],
    call: Annotated[str, InjectedToolCallId],
    config: RunnableConfig,
    optional: Annotated[dict[str, Any], InjectedState] | None = None,
    secret: Annotated[int, InjectedToolArg] = 3,
) -> str:
    """Uses all."""
    return ""


class Counting(BaseTool):
    name: str = "counting"
    description: str = "A tool of a class."

    def _run(self, x: int, state: Annotated[dict[str, Any], InjectedState]) -> str:
        return ""


@tool(args_schema={"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]})
def by_schema(x: int, runtime: ToolRuntime) -> str:
    """Has a schema of its own."""
    return ""


class Configured(BaseTool):
    name: str = "configured"
    description: str = "A tool that reads the configuration."

    def _run(self, x: int, *args: Any, config: RunnableConfig, **kwargs: Any) -> str:
        return ""


@pytest.mark.parametrize("given", [everything, Counting(), Configured(), by_schema])
def test_no_model_is_asked_for_what_the_graph_adds(given: BaseTool) -> None:
    arguments = arguments_of(given)
    assert arguments.names == ["x"]
    assert arguments.schema["required"] == ["x"]
    assert card_of(given).input == "x"
    assert complaint(given, {"x": 1}) is None
    assert "`x`" in str(complaint(given, {}))
    check_callable(given)


def test_a_tool_of_one_text_is_asked_for_one_text() -> None:
    given = Tool(name="echo", description="Echoes.", func=lambda words: words)
    check_callable(given)
    assert arguments_of(given).schema["properties"] == {"tool_input": {"type": "string"}}
    assert given.invoke({"tool_input": "a"}) == "a"


def test_who_supplies_what() -> None:
    found = {name: (each.supplier, each.field) for name, each in arguments_of(everything).injected.items()}
    assert found == {
        "state": ("state", None),
        "question": ("state", "question"),
        "store": ("store", None),
        "runtime": ("runtime", None),
        "call": ("call id", None),
        "config": ("langchain", None),
        "optional": ("state", None),
        "secret": ("nobody", None),
    }


def test_a_card_without_words_names_nested_fields() -> None:
    assert card_of(from_schema(Order)).input == "ship_to {street, city}, size"
    assert card_of(from_schema({"type": "object"})).input == "nothing"


DEEP = {
    "type": "object",
    "properties": {
        "to": {"$ref": "#/definitions/to"},
        "tags": {"type": ["array", "null"], "items": {"type": "string"}},
        "odd": {"type": "string", "pattern": r"^\p{L}+$"},
    },
    "required": ["to"],
    "definitions": {"to": {"type": "object", "properties": {"zip": {"type": "string"}}, "required": ["zip"]}},
}


@pytest.mark.parametrize(
    ("schema", "call", "words"),
    [
        (Order, {"ship_to": {"street": "x"}}, None),
        (Order, {"ship_to": {"street": "x"}, "size": "large"}, None),
        (Order, {"ship_to": {}}, "`ship_to.street` of odd is wrong"),
        (Order, {"ship_to": {"street": "x"}, "size": "huge"}, "`size` of odd is wrong"),
        (Order, {"ship_to": {"street": "x"}, "colour": 1}, "no argument `colour`; its arguments are ship_to, size"),
        (OldOrder, {"amount": 1}, None),
        (OldOrder, {"amount": "many"}, "`amount` of odd is wrong"),
        (DEEP, {"to": {"zip": "1"}, "tags": None}, None),
        (DEEP, {"to": {"zip": "1"}, "tags": ["a"]}, None),
        (DEEP, {"to": {}}, "`to.zip` of odd is missing"),
        (DEEP, {}, "`to` of odd is missing"),
        (DEEP, {"to": {"zip": 1}}, "`to.zip` of odd is wrong: 1 is not of type 'string'"),
        (DEEP, {"to": {"zip": "1"}, "tags": [1]}, "`tags.0` of odd is wrong"),
        (DEEP, {"to": {"zip": "1"}, "odd": "a pattern in another dialect"}, None),
        ({"type": "object"}, {}, None),
        ({"type": "object"}, {"a": 1}, "no argument `a`; it has none"),
        ({"type": "object", "additionalProperties": True}, {"a": 1}, None),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": "b"}, "`a` of odd is wrong"),
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"b": 1}, None),
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"c": 1}, "odd"),
        ({"type": "object", "properties": {"q": {"type": "string"}}, "required": None}, {}, None),
        ({"properties": {"n": {"type": "number", "minimum": 0, "exclusiveMinimum": True}}}, {"n": 0}, "`n`"),
        ({"properties": {"n": {"type": "no such type"}}, "required": ["n"]}, {}, "`n` of odd is missing"),
        ({"properties": {"n": {"type": "no such type"}}, "required": ["n"]}, {"n": 1}, None),
    ],
)
def test_calls_are_checked_by_the_schema(schema: Any, call: dict[str, Any], words: str | None) -> None:
    problem = complaint(from_schema(schema), call)
    assert problem is None if words is None else words in str(problem)


class Opaque:
    pass


def wants_opaque(value: Opaque) -> str:
    """Wants what JSON cannot hold."""
    return ""


def keeps_secret(user: Annotated[str, InjectedToolArg]) -> str:
    """Wants what nobody supplies."""
    return ""


def in_words(self: str, city: str) -> str:
    """Takes an argument that `StructuredTool` has itself."""
    return ""


async def configured(city: str, config: dict[str, str] | None = None) -> str:
    """Takes another, which it may go without."""
    return ""


def called_back(callbacks: list[str]) -> str:
    """Takes a name that LangChain keeps from the model."""
    return ""


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tool(in_words), "'in_words' has an argument `self`, a name that LangChain uses itself .*: rename it"),
        (lambda: tool(configured), "'configured' has an argument `config`, a name that LangChain uses itself"),
        (lambda: tool(called_back), "'called_back' needs `callbacks`, which is not among its arguments"),
        (lambda: StructuredTool.from_function(wants_opaque), "'wants_opaque' cannot be offered to a model"),
        (lambda: StructuredTool.from_function(keeps_secret), "keeps the argument `user` from the model"),
        (
            lambda: from_schema({"type": "array"}),
            "'odd' cannot be offered to a model: its arguments are of the type array",
        ),
        (
            lambda: StructuredTool(name="odd", description="d", args_schema=Order, func=lambda other: other),
            "'odd' needs `other`, which is not among its arguments",
        ),
    ],
)
def test_a_tool_that_nobody_can_call_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_callable(make())


def test_what_langchain_supplies_keeps_its_names() -> None:
    def supplied(city: str, config: RunnableConfig, callbacks: Callbacks = None) -> str:
        """Says where."""
        return f"{city} {config['tags']} {type(callbacks).__name__}"

    made = tool(supplied)
    check_callable(made)
    assert arguments_of(made).names == ["city"]
    assert made.invoke({"city": "Oslo"}, {"tags": ["a"]}) == "Oslo ['a'] CallbackManager"


def test_a_tool_is_looked_at_once() -> None:
    made = from_schema(Order)
    assert arguments_of(made) is arguments_of(made)
    made.args_schema = Address
    assert arguments_of(made).names == ["street", "city"]
