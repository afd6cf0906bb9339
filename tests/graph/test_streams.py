"""What those who stream or call the graph see of it, and what the modules keep to themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError

from graph import AgentGraph, Context, build_graph
from tests.graph.conftest import Serve, calls_text, plan_text, verdict_text

PRIVATE = {"run", "continues", "speculation"}


@pytest.mark.parametrize("speculate", [False, True])
@pytest.mark.parametrize("sync", [False, True])
async def test_streams_show_modules_and_named_tasks(
    serve: Serve, tools: list[BaseTool], sync: bool, speculate: bool
) -> None:
    server = serve(
        executor=[calls_text({"number": 1}, {"number": 2}), calls_text({"number": 3})],
        verifier=[verdict_text(then="continue"), verdict_text()],
    )
    graph = build_graph(tools=tools, checkpointer=InMemorySaver())
    context = Context(model=server.spec, speculate=speculate, brief_verdicts=True)
    config: Any = {"configurable": {"thread_id": "t"}}
    modes: Any = ["updates", "values", "checkpoints"]

    def stream() -> list[tuple[str, Any]]:
        return list(graph.stream({"question": "q"}, config, context=context, stream_mode=modes))

    if sync:
        parts = await asyncio.to_thread(stream)
    else:
        parts = [p async for p in graph.astream({"question": "q"}, config, context=context, stream_mode=modes)]
    updates = [next(iter(part.items())) for mode, part in parts if mode == "updates"]
    turn = ["planner", "write_arguments", *["call_tool"] * 2, "executor", "verifier"]
    assert [name for name, _ in updates] == [*turn, *turn[:2], *turn[3:], "generator"]
    assert updates[1][1]["arguments"] == [{"number": 1}, {"number": 2}]
    assert {update["call"]["result"] for name, update in updates if name == "call_tool"} == {"2", "4", "6"}
    for mode, part in parts:
        for state in part.values() if mode == "updates" else [part["values"] if mode == "checkpoints" else part]:
            assert not PRIVATE & set(state)
    assert not PRIVATE & set(graph.get_state(config).values)


@pytest.mark.parametrize("sync", [False, True])
async def test_a_run_that_nothing_keeps_makes_no_tasks_and_does_the_same(
    serve: Serve, tools: list[BaseTool], sync: bool
) -> None:
    server = serve(executor=[calls_text({"number": 1}, {"number": 2})], verifier=[verdict_text()])
    context = Context(model=server.spec)
    ran = []
    for thread in ({"thread_id": "t"}, {}):
        graph = build_graph(tools=tools, checkpointer=InMemorySaver() if thread else None)
        config: Any = {"configurable": thread}

        def updates(graph: AgentGraph = graph, config: Any = config) -> list[dict[str, Any]]:
            return list(graph.stream({"question": "q"}, config, context=context, stream_mode="updates"))

        if sync:
            parts = await asyncio.to_thread(updates)
        else:
            parts = [p async for p in graph.astream({"question": "q"}, config, context=context, stream_mode="updates")]
        ran.append([item for part in parts for item in part.items()])
    kept, passing = ran
    assert [name for name, _ in passing] == ["planner", "executor", "verifier", "generator"]
    assert [name for name, _ in kept if name not in ("write_arguments", "call_tool")] == [name for name, _ in passing]
    calls = [[(c["arguments"], c["result"]) for c in dict(each)["executor"]["calls"]] for each in ran]
    assert calls == [[({"number": 1}, "2"), ({"number": 2}, "4")]] * 2


def test_schemas_name_what_users_see(tools: list[BaseTool]) -> None:
    graph = build_graph(tools=tools)
    output = graph.get_output_jsonschema()["properties"]
    assert set(graph.get_input_jsonschema()["properties"]) == {"question", "messages", "analysis"}
    assert {"question", "memory", "answer", "usage"} <= set(output)
    assert not PRIVATE & set(output)
    assert all("description" in field for field in output.values())


async def test_tokens_are_told_apart_by_role_and_the_answer_is_one_message(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    graph = build_graph(tools=tools)
    texts: dict[str, str] = {}
    ids: dict[str, set[str]] = {}
    context = Context(model=server.spec)
    state: dict[str, Any] = {}
    stream = graph.astream({"question": "q"}, context=context, stream_mode=["messages", "values"])
    async for mode, part in stream:
        if mode == "values":
            state = part
            continue
        chunk, metadata = part
        if isinstance(chunk, AIMessage):
            [role] = metadata["tags"]
            texts[role] = texts.get(role, "") + str(chunk.text)
            ids.setdefault(role, set()).add(chunk.id)
    assert texts == {
        "analyst": "A number is asked for.",
        "planner": plan_text("double"),
        "executor": calls_text({"number": 21}),
        "verifier": verdict_text(),
        "generator": "Answer: 42",
    }
    assert ids["generator"] == {state["messages"][-1].id}
    assert state["messages"][-1].text == "42"


async def test_an_answer_that_is_streamed_after_others_replaces_none(serve: Serve, tools: list[BaseTool]) -> None:
    graph = build_graph(tools=tools, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    context = Context(model=serve().spec)
    for question in ("first?", "second?"):
        state = await graph.ainvoke({"question": question}, config, context=context)
    assert [message.text for message in state["messages"]] == ["first?", "42", "second?", "42"]


Way = Callable[[AgentGraph, Context], Any]


@pytest.mark.parametrize(
    "way",
    [
        lambda graph, context: graph.batch([{"question": "q"}], context=context)[0],
        lambda graph, context: asyncio.run(graph.abatch([{"question": "q"}], context=context))[0],
        lambda graph, context: next(iter(graph.batch_as_completed([{"question": "q"}], context=context)))[1],
        lambda graph, context: (RunnableLambda(lambda q: {"question": q}) | graph.bind(context=context)).invoke("q"),
        lambda graph, context: RunnableLambda(lambda q: graph.invoke({"question": q}, context=context)).invoke("q"),
        lambda graph, context: graph.with_config(tags=["mine"]).batch([{"question": "q"}], context=context)[0],
    ],
)
def test_every_way_in_has_the_graphs_own_limit(serve: Serve, tools: list[BaseTool], way: Way) -> None:
    numbers = iter(range(100))
    server = serve(executor=lambda _: calls_text({"number": next(numbers)}), verifier=verdict_text(then="continue"))
    state = way(build_graph(tools=tools), Context(model=server.spec, max_turns=12))
    assert (len(state["memory"]), state["ended_by"]) == (12, "turns")


def test_a_limit_that_somebody_chose_holds(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(verifier=verdict_text(then="continue"))
    with pytest.raises(GraphRecursionError):
        build_graph(tools=tools).batch([{"question": "q"}], {"recursion_limit": 2}, context=Context(model=server.spec))
