"""Names by which no tool, or the wrong one, would be called are refused before a run begins."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool

from evals.speed.fake_server import ChatReply
from graph import Context, build_graph
from graph.errors import ConfigError
from tests.graph.conftest import Serve, calls_text, double_tool, plan_text, verdict_text


def named(name: str) -> BaseTool:
    return StructuredTool.from_function(lambda number: str(number), name=name, description="A tool.")


SHOUT = "tests.graph.conftest:shout_tool"


@pytest.mark.parametrize(
    ("names", "words"),
    [(("double", "double"), "have the name 'double'"), (("finish",), "ends a run"), ((" ", "double"), "has no name")],
)
def test_names_that_cannot_be_told_apart_are_refused(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_graph(tools=[named(name) for name in names])


async def test_the_names_behind_import_paths_are_looked_at_as_well(serve: Serve) -> None:
    graph = build_graph(tools=[named("shout"), SHOUT], models=serve().spec)
    with pytest.raises(ConfigError, match="have the name 'shout'"):
        await graph.ainvoke({"question": "q"})
    with pytest.raises(ConfigError, match="have the name 'shout'"):
        await build_graph(models=serve().spec).ainvoke({"question": "q"}, context=Context(tools=(SHOUT, SHOUT)))


async def test_of_tools_that_are_easily_confused_the_named_one_runs(serve: Serve) -> None:
    made: list[str] = []

    def tool(name: str) -> BaseTool:
        def work(number: int) -> str:
            """Do something."""
            made.append(name)
            return str(number)

        return StructuredTool.from_function(work, name=name)

    names = ("查订单", "删订单", "get-user", "get_user", "c", "c++")
    for name in names:
        server = serve(planner=plan_text(name))
        await build_graph(tools=[tool(other) for other in names], models=server.spec).ainvoke({"question": "q"})
    assert made == list(names)
    server = serve(planner=[plan_text("GET USER"), plan_text("get_user")])
    state = await build_graph(tools=[tool(other) for other in names], models=server.spec).ainvoke({"question": "q"})
    failed, done = state["memory"]
    assert failed["error"] is not None
    assert "get-user or get_user" in failed["error"]["message"]
    assert "get-user or get_user" in failed["observation"]
    assert (done["plan"]["tool_name"], made[-1]) == ("get_user", "get_user")


async def test_a_generalist_that_thinks_aloud_is_heard_without_its_thinking(serve: Serve) -> None:
    server = serve(
        planner=plan_text("generalist"),
        executor=calls_text({"question": "What is it?"}),
        other=ChatReply("It may be 12.\n</think>\nIt is 13."),
        verifier=verdict_text(),
    )
    state = await build_graph(tools=["generalist", double_tool], models=server.spec).ainvoke({"question": "q"})
    assert state["memory"][0]["calls"][0]["result"] == "It is 13."


@pytest.mark.parametrize("tools", ["python", named, named("double")])
def test_one_tool_without_its_list_is_told(tools: Any) -> None:
    with pytest.raises(ConfigError, match=r"is one \w+, and no list"):
        build_graph(tools=tools)
