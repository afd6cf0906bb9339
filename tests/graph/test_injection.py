"""Tools take what `create_agent` would give them, models neither see nor write it; what cannot be had is refused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, tool
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel
from typing_extensions import TypedDict

from graph import Context, build_graph
from graph.errors import ConfigError
from graph.state import ToolCall
from graph.toolbox import ToolLike
from tests.graph.conftest import Serve, calls_text, plan_text

MODES = pytest.mark.parametrize("mode", ["sync", "async"])


class Known(TypedDict):
    question: str


@dataclass
class KnownRecord:
    question: str


class Wanted(BaseModel):
    user_name: str


@tool
def whole_state(x: int, state: Annotated[dict[str, Any], InjectedState]) -> str:
    """Reads the state."""
    return f"{x} of {state['question']}"


@tool
def one_field(x: int, question: Annotated[str, InjectedState("question")]) -> str:
    """Reads a field."""
    return f"{x} of {question}"


@tool
def typed_state(x: int, state: Annotated[Known, InjectedState], record: Annotated[KnownRecord, InjectedState]) -> str:
    """Reads a state with a type."""
    return f"{x} of {record.question}" if state["question"] == record.question else "differs"


@tool
async def contextual(x: int, runtime: ToolRuntime[Any, Any]) -> str:
    """Looks around."""
    runtime.stream_writer({"seen": x})
    assert runtime.tool_call_id is not None
    assert runtime.config["configurable"]["checkpoint_ns"]
    return f"{x} of {runtime.state['question']}" if runtime.context.max_turns == 1 else ""


@tool
def with_id(x: int, call: Annotated[str, InjectedToolCallId], config: RunnableConfig) -> dict[str, Any]:
    """Reads the id of the call."""
    assert config["configurable"]
    return {"x": x, "id": call[:5]}


@tool
def maybe_store(x: int, store: Annotated[Any, InjectedStore()]) -> str:
    """Works with and without a store."""
    return f"{x} {store is not None}"


@tool
def sure_store(x: int, store: Annotated[BaseStore, InjectedStore()]) -> str:
    """Needs a store."""
    store.put(("numbers",), "x", {"value": x})
    return "kept"


class OfAClass(BaseTool):
    name: str = "of_a_class"
    description: str = "Reads the state."

    def _run(self, x: int, state: Annotated[dict[str, Any], InjectedState]) -> str:
        return f"{x} of {state['question']}"


@tool(args_schema={"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]})
def by_schema(x: int, state: Annotated[dict[str, Any], InjectedState], call: Annotated[str, InjectedToolCallId]) -> str:
    """Has a schema of its own."""
    return f"{x} of {state['question']}" if call else ""


def plain(x: int, runtime: ToolRuntime, unit: str = "m") -> str:
    """A plain function."""
    return f"{x} {unit} of {runtime.state['question']}"


async def aplain(x: int, *rest: int, **more: int) -> str:
    """A plain asynchronous function."""
    return f"{x} of {len(rest) + len(more)}"


async def called(serve: Serve, given: ToolLike, mode: str = "async", call: Any = None, **settings: Any) -> ToolCall:
    name = str(getattr(given, "name", None) or getattr(given, "__name__", ""))
    server = serve(planner=plan_text(name), executor=calls_text(call or {"x": 1}))
    graph, context = build_graph(tools=[given], **settings), Context(model=server.spec, max_turns=1)
    if mode == "sync":
        state = await asyncio.to_thread(graph.invoke, {"question": "q"}, context=context)
    else:
        state = await graph.ainvoke({"question": "q"}, context=context)
    for request in (*server.asked("planner"), *server.asked("executor")):
        text = "".join(str(said["content"]) for said in request.messages)
        assert not any(word in text + str(request.body) for word in ("runtime", "InjectedS", "'state'", '"state"'))
    done: ToolCall = state["memory"][0]["calls"][0]
    return done


@MODES
@pytest.mark.parametrize(
    ("given", "text"),
    [
        (whole_state, "1 of q"),
        (one_field, "1 of q"),
        (typed_state, "1 of q"),
        (contextual, "1 of q"),
        (with_id, '{"x": 1, "id": "call_"}'),
        (maybe_store, "1 False"),
        (OfAClass(), "1 of q"),
        (by_schema, "1 of q"),
        (plain, "1 m of q"),
        (aplain, "1 of 0"),
    ],
)
async def test_tools_get_what_they_ask_for(serve: Serve, mode: str, given: Any, text: str) -> None:
    call = await called(serve, given, mode)
    assert (call["error"], call["result"]) == (None, text)
    assert call["arguments"] == {"x": 1}


@MODES
async def test_the_graphs_store_is_given(serve: Serve, mode: str) -> None:
    store = InMemoryStore()
    assert (await called(serve, sure_store, mode, store=store))["result"] == "kept"
    item = store.get(("numbers",), "x")
    assert item is not None
    assert item.value == {"value": 1}


async def test_a_missing_store_is_told(serve: Serve) -> None:
    call = await called(serve, sure_store)
    assert call["error"] == {
        "kind": "tool",
        "message": "sure_store needs a store, and this graph has none: build_graph(store=...)",
    }


async def test_what_a_model_writes_for_the_graph_is_not_used(serve: Serve) -> None:
    forged = {"x": 1, "state": {"question": "forged"}, "runtime": {}, "question": "forged", "call": "forged"}
    for given in (whole_state, one_field, by_schema):
        names = {"x", "state" if given is not one_field else "question"}
        call = await called(serve, given, call={name: value for name, value in forged.items() if name in names})
        assert (call["result"], call["arguments"]) == ("1 of q", {"x": 1})


async def test_the_stream_of_a_tool_reaches_the_caller(serve: Serve) -> None:
    server = serve(planner=plan_text("contextual"), executor=calls_text({"x": 1}))
    graph, context = build_graph(tools=[contextual]), Context(model=server.spec, max_turns=1)
    events = [event async for event in graph.astream({"question": "q"}, context=context, stream_mode="custom")]
    assert {"seen": 1} in events


def undocumented(x: int) -> str:
    return ""


def by_place(x: int, /) -> str:
    """Takes x by place."""
    return ""


def wants_field(x: int, user: Annotated[str, InjectedState("user_name")]) -> str:
    """Wants a field."""
    return ""


def wants_state(x: int, state: Annotated[Wanted, InjectedState]) -> str:
    """Wants a state."""
    return ""


def wants_secret(x: int, user: Annotated[str, InjectedToolArg]) -> str:
    """Wants what nobody knows."""
    return ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (undocumented, "undocumented has no docstring"),
        (lambda x: x, "<lambda> has no docstring"),
        (by_place, "takes 'x' by position only"),
        (wants_field, "wants `user_name` from the state"),
        (wants_state, "wants `user_name` from the state"),
        (wants_secret, "keeps the argument `user` from the model"),
        ({"type": "web_search"}, "'web_search' is a dict"),
        (Wanted, "is no tool"),
        (3, "class int is no tool"),
        (None, "class NoneType is no tool"),
    ],
)
def test_what_cannot_be_had_is_refused_when_the_graph_is_built(given: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_graph(tools=[given])


def test_functions_count_as_tools_of_their_name() -> None:
    with pytest.raises(ConfigError, match="Two tools have the name 'plain'"):
        build_graph(tools=[plain, plain])
