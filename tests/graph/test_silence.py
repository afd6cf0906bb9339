"""Replies whose tokens all went into thinking are asked for once more with more room, and told as what they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool

from evals.speed.fake_server import ChatReply, ChatRequest
from graph import Context, answer_directly, build_graph
from graph.models.room import silence
from tests.graph.conftest import Serve, plan_text


def _thought(text: str | None, **message: Any) -> ChatReply:
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": "length"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1024}
    return ChatReply("", raw=json.dumps({"choices": [choice], "usage": usage}).encode())


ALL_THINKING = [
    _thought(None, reasoning_content="hm"),
    _thought("", reasoning="hm"),
    _thought("<think>Tool Name: shout"),
    _thought(""),
]


@pytest.mark.parametrize("reply", ALL_THINKING)
async def test_whoever_only_thinks_is_asked_once_more_with_more_room(
    serve: Serve, tools: list[BaseTool], reply: ChatReply
) -> None:
    def planner(request: ChatRequest) -> str | ChatReply:
        return plan_text("double") if request.body["max_tokens"] > 1024 else reply

    server = serve(planner=planner)
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec))
    assert (len(state["memory"]), state["answer"]) == (1, "42")
    first, second = server.asked("planner")
    assert (first.body["max_tokens"], second.body["max_tokens"]) == (1024, 4096)
    assert first.messages == second.messages
    assert state["usage"]["planner"]["calls"] == 2
    assert state["usage"]["planner"]["output_tokens"] >= 1024


async def test_whoever_thinks_on_is_told_of_it_and_the_run_ends(serve: Serve, tools: list[BaseTool]) -> None:
    reply = ALL_THINKING[0]
    server = serve(analyst=reply, planner=reply, executor=reply, verifier=reply, generator=reply)
    context = Context(model=server.spec, max_turns=2)
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=context)
    assert [turn["error"] and turn["error"]["kind"] for turn in state["memory"]] == ["plan", "plan"]
    assert all("all 1,024 tokens" in str(turn["error"]) for turn in state["memory"])
    assert "all 1,024 tokens" in state["memory"][0]["observation"], "the planner is told as well"
    assert state["answer"] == "", "thinking is no answer"
    assert "all 1,024 tokens" in str(state["messages"][-1].text)
    assert (len(server.asked("planner")), len(server.asked("generator"))) == (4, 2)


async def test_arguments_and_verdicts_are_not_read_from_thinking(serve: Serve, tools: list[BaseTool]) -> None:
    draft = _thought('<think>{"calls": [{"number": 1}]}')
    state = await build_graph(tools=tools).ainvoke(
        {"question": "q"}, context=Context(model=serve(executor=draft).spec, max_turns=1)
    )
    assert "all 1,024 tokens" in str(state["memory"][0]["error"])
    draft = _thought('{"reason": "r", "result": "reject", "next": "stop"}\n</think>')
    state = await build_graph(tools=tools).ainvoke(
        {"question": "q"}, context=Context(model=serve(verifier=draft).spec, max_turns=1)
    )
    assert "all 1,024 tokens" in state["memory"][0]["verdict"]["reason"]


async def test_a_server_without_more_room_ends_nothing(serve: Serve, tools: list[BaseTool]) -> None:
    def planner(request: ChatRequest) -> ChatReply:
        too_long = ChatReply("maximum context length is 2048 tokens", status=400)
        return too_long if request.body["max_tokens"] > 1024 else ALL_THINKING[0]

    context = Context(model=serve(planner=planner).spec, max_turns=1)
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=context)
    assert "all 1,024 tokens" in str(state["memory"][0]["error"])


async def test_the_bare_model_is_asked_once_more_as_well(serve: Serve) -> None:
    server = serve(other=[ALL_THINKING[0], "Answer: 7"])
    state = await answer_directly("q", Context(model=server.spec))
    assert (state["answer"], state["usage"]["generator"]["calls"]) == ("7", 2)


@pytest.mark.parametrize("reason", ["finish_reason", "stop_reason", "done_reason"])
def test_only_a_reply_that_was_cut_off_without_a_word_is_silent(reason: str) -> None:
    assert silence(AIMessage("", response_metadata={reason: "MAX_TOKENS"})) is not None
    assert silence(AIMessage("", response_metadata={reason: "stop"})) is None
    assert silence(AIMessage("<think>a</think>b", response_metadata={reason: "length"})) is None
    assert silence(AIMessage("")) is None
