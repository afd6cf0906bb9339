"""Without a search tool, a program about a name is the only way."""

from __future__ import annotations

from graph import Context, build_graph
from tests.graph.conftest import Serve, passages_tool, plan_text
from tools.registry import load_tool

QUESTION = "How many letters do the words Alma and Bruno have together?"


async def test_a_program_about_what_nobody_can_look_up_is_run(serve: Serve) -> None:
    server = serve(planner=plan_text("python"), executor="```python\nprint(4 + 5)\n```")
    settings = Context(model=server.spec, checks="on", max_turns=1)
    state = await build_graph(tools=[load_tool("python")]).ainvoke({"question": QUESTION}, context=settings)
    assert [call["result"] for call in state["memory"][0]["calls"]] == ["9"]
    state = await build_graph(tools=[load_tool("python"), passages_tool()]).ainvoke(
        {"question": QUESTION}, context=settings
    )
    assert state["memory"][0]["error"] is not None
