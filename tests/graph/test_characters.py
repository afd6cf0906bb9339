"""One bad character ends no run, wherever it comes from, and what is kept of the run can be stored and sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatResult
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from evals.speed.fake_server import ChatReply
from graph import Context, answer_directly, build_graph
from tests.graph.conftest import Serve, calls_text, plan_text, verdict_text
from tools.results import as_text

ROOT = Path(__file__).parents[2]
BAD = "caf\udce9 \ud83d \0 b\udcc3\udca9"
GOOD = "caf\ufffd \ufffd \ufffd bé"


def files(path: str) -> str:
    """List a folder."""
    if path == "raise":
        raise ValueError(f"no file {BAD}")
    return f"{path}: {BAD}"


def everything(value: Any) -> str:
    """The state as it is stored; raises where it holds what cannot be."""
    text = json.dumps(value, ensure_ascii=False, default=lambda message: message.model_dump())
    text.encode("utf-8")
    assert "\\u0000" not in text
    return text


def _tool(description: str = "List a folder.") -> BaseTool:
    return StructuredTool.from_function(files, name="files", description=description)


def _raw(text: str) -> ChatReply:
    """A reply as servers write it that escape whatever is no ASCII."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return ChatReply("", raw=json.dumps({"choices": [choice]}).encode())


async def test_results_errors_and_descriptions_of_tools(serve: Serve) -> None:
    for path, error in (("/", None), ("raise", "tool")):
        server = serve(planner=plan_text("files"), executor=calls_text({"path": path}))
        graph = build_graph(tools=[_tool(f"List {BAD}.")], models=server.spec, instructions=BAD)
        state = await graph.ainvoke({"question": "q"}, context=Context(max_turns=1))
        assert GOOD in everything(state["memory"])
        assert (state["memory"][0]["error"] or {"kind": None})["kind"] == error
        assert GOOD in server.asked("planner")[0].messages[0]["content"]


async def test_what_models_write(serve: Serve) -> None:
    server = serve(
        planner=_raw(plan_text("files", goal=BAD, context=BAD)),
        executor=calls_text({"path": BAD}),
        verifier=verdict_text(reason=BAD),
        generator=_raw(f"Answer: {BAD}"),
        report=_raw(BAD),
        analyst=_raw(BAD),
    )
    context = Context(model=server.spec, report=True)
    state = await build_graph(tools=[_tool()]).ainvoke({"question": "q"}, context=context)
    everything(state)
    assert state["answer"] == state["memory"][0]["plan"]["sub_goal"] == GOOD
    assert state["memory"][0]["calls"][0]["arguments"] == {"path": GOOD}


async def test_what_models_write_in_pieces(serve: Serve) -> None:
    server = serve(planner=plan_text("files"), executor=calls_text({"path": "/"}), generator=f"Answer: {BAD}")
    graph, said = build_graph(tools=[_tool()], models=server.spec), ""
    async for chunk, _ in graph.astream({"question": "q"}, stream_mode="messages"):
        said += str(chunk.text)
    said.encode("utf-8")
    assert GOOD in said


async def test_models_of_other_providers() -> None:
    planner = GenericFakeChatModel(messages=iter([AIMessage(f"Tool Name: {BAD}")] * 3))
    generator = GenericFakeChatModel(messages=iter([AIMessage(f"Answer: {BAD}")]))
    graph = build_graph(models={"planner": planner, "generator": generator})
    state = await graph.ainvoke({"question": "q"}, context=Context(analyse=False, max_turns=3))
    everything(state)
    assert state["answer"] == GOOD


class Sending(GenericFakeChatModel):
    """Encodes its prompt and its schema, as every HTTP client does."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **settings: Any) -> ChatResult:
        json.dumps([message.content for message in messages], ensure_ascii=False).encode("utf-8")
        return super()._generate(messages, *args, **settings)

    def with_structured_output(self, schema: Any, **settings: Any) -> Any:
        json.dumps(schema, ensure_ascii=False).encode("utf-8")
        raise NotImplementedError


async def test_descriptions_of_tools_reach_models_of_other_providers() -> None:
    replies = [AIMessage(text) for text in (plan_text("files"), calls_text({"path": "/"}), verdict_text(), "Answer: 1")]
    picture = {"type": "image", "url": "https://host/picture.png"}
    tool = _tool(f"List {BAD}.")
    tool.args_schema.model_fields["path"].description = BAD  # type: ignore[union-attr]
    graph = build_graph(tools=[tool], models=Sending(messages=iter(replies)), instructions=BAD)
    chat = [HumanMessage([{"type": "text", "text": "q"}, picture])]
    state = await graph.ainvoke({"messages": chat}, context=Context(analyse=False, max_turns=1))
    assert (state["answer"], state["memory"][0]["error"]) == ("1", None)


@pytest.mark.parametrize(
    "given",
    [
        {"question": BAD},
        {"messages": [HumanMessage(BAD)]},
        {"messages": [HumanMessage([{"type": "text", "text": BAD}])]},
        {"messages": [{"role": "system", "content": BAD}, ("user", BAD)]},
        {"question": "q", "analysis": BAD},
        {"question": "q", "messages": [AIMessage(BAD, tool_calls=[{"name": "f", "args": {BAD: BAD}, "id": "1"}])]},
    ],
)
async def test_questions_chats_and_analyses(serve: Serve, tools: list[BaseTool], given: Any) -> None:
    server = serve()
    graph = build_graph(tools=tools, models=server.spec, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    state = await graph.ainvoke(given, config)
    assert GOOD in everything(state)
    async for snapshot in graph.aget_state_history(config):
        everything(snapshot.values)
    await graph.aupdate_state(config, {"question": BAD})
    assert (await graph.aget_state(config)).values["question"] == GOOD
    assert (await answer_directly(BAD, Context(model=server.spec)))["question"] == GOOD


async def test_what_a_human_answers(serve: Serve) -> None:
    server = serve(planner=plan_text("files"), executor=calls_text({"path": "/"}))
    graph = build_graph(tools=[_tool()], models=server.spec, checkpointer=InMemorySaver())
    context = Context(ask_before=("files",), max_turns=1)
    for thread, answer in enumerate((f"no, {BAD}", {"arguments": [{"path": BAD}]})):
        config: Any = {"configurable": {"thread_id": str(thread)}}
        await graph.ainvoke({"question": "q"}, config, context=context)
        state = await graph.ainvoke(Command(resume=answer), config, context=context)
        assert GOOD in everything(state["memory"])


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
@pytest.mark.parametrize("way", ["stdin", "argument"])
def test_the_command_line(serve: Serve, tmp_path: Path, way: str, locale: str) -> None:
    server = serve(planner="no plan", generator=ChatReply("Answer: 😀"))
    question = b"caf\xe9 b\xc3\xa9?"
    saved = tmp_path / "run.json"
    command: list[str | bytes | Path] = [sys.executable, "-m", "graph", b"-" if way == "stdin" else question]
    command += ["--model", server.spec, "--json", "--max-turns", "1", "--no-analysis", "--save", saved]
    ended = subprocess.run(
        command,
        input=question if way == "stdin" else b"",
        capture_output=True,
        env={**os.environ, "LC_ALL": locale, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode(errors="replace")
    for text in (ended.stdout, saved.read_bytes()):
        assert json.loads(text)["question"] == "caf\ufffd bé?"


def test_results_that_hold_no_characters_are_shown() -> None:
    assert as_text({"name": BAD}).count("caf") == 1
