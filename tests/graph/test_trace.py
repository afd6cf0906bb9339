"""A traced run keeps what was asked to the letter; an untraced one keeps nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from evals.speed.fake_server import FakeModelServer
from graph import Context, build_graph
from graph.__main__ import main
from graph.trace import traced
from tools.card import Example, ToolCard

from .conftest import calls_text, plan_text, verdict_text

Serve = Callable[..., FakeModelServer]


def run(server: FakeModelServer, tools: list[BaseTool], **settings: object) -> dict[str, object]:
    graph = build_graph(tools=tools)
    context = Context(model=server.spec, **settings)  # type: ignore[arg-type]
    with traced() as trace:
        asyncio.run(graph.ainvoke({"question": "What is twice 21?"}, context=context))
    return trace.as_dict()


def test_every_prompt_is_the_one_that_was_sent(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(executor=["no arguments here", calls_text({"number": 21})])
    trace = run(server, tools, report=True)
    texts, asked = trace["texts"], [step for step in trace["steps"] if "role" in step]
    sent = [[message["content"] for message in request.messages] for request in server.requests]
    assert [[texts[number] for _, number in step["prompt"]] for step in asked] == sent
    assert [step["role"] for step in asked] == [
        "analyst",
        "planner",
        "executor",
        "executor",  # the repair: no saved state shows that it was asked for
        "verifier",
        "generator",
        "generator",
    ]
    assert len(set(texts)) == len(texts)


def test_steps_stand_at_their_turn_and_time(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(0.02, planner=[plan_text("double"), plan_text("shout")], executor=calls_text({"number": 21}),
                   verifier=[verdict_text(then="continue"), verdict_text()])  # fmt: skip
    steps = run(server, tools[:1])["steps"]
    assert [(step.get("role") or step["tool"], step["turn"]) for step in steps][:5] == [
        ("analyst", 0),
        ("planner", 1),
        ("executor", 1),
        ("double", 1),
        ("verifier", 1),
    ]
    starts = [step["started"] for step in steps]
    assert starts == sorted(starts)
    assert all(step["seconds"] >= 0.02 for step in steps if "role" in step)


def test_example_runs_and_earlier_runs_are_no_turns(serve: Serve, tools: list[BaseTool]) -> None:
    shown = StructuredTool.from_function(
        lambda text: text, name="say", description="Say.", metadata={"card": ToolCard(input="words", examples=(_SAID,))}
    )
    server = serve(planner="Tool: say\nInput: something", verifier=verdict_text(then="continue"))
    graph = build_graph(tools=[shown], checkpointer=InMemorySaver())
    context = Context(model=server.spec, max_turns=2, direct_arguments=True)
    for question in ("q?", "and q?"):
        with traced() as trace:
            asyncio.run(graph.ainvoke({"question": question}, {"configurable": {"thread_id": "1"}}, context=context))
        steps = trace.as_dict()["steps"]
        assert [step["turn"] for step in steps if step.get("role") == "planner"] == [1, 2]


_SAID = Example(question="Hi?", reason="r", context="c", sub_goal="g", input="hello", result="hello")


def test_a_tool_that_asks_a_model_is_traced_too(serve: Serve) -> None:
    server = serve(planner=plan_text("generalist"), executor=calls_text({"question": "What is a palindrome?"}))
    trace = run(server, ["generalist"])  # type: ignore[list-item]
    step = next(step for step in trace["steps"] if step.get("role") == "generalist")
    assert trace["texts"][step["prompt"][-1][1]] == "What is a palindrome?"
    assert trace["texts"][step["reply"]] == "Answer: 7"


def test_nothing_is_kept_without_a_trace(serve: Serve, tools: list[BaseTool]) -> None:
    graph = build_graph(tools=tools)
    with traced() as trace:
        pass
    asyncio.run(graph.ainvoke({"question": "What is twice 21?"}, context=Context(model=serve().spec)))
    assert trace.as_dict() == {"texts": [], "steps": []}


def test_a_later_part_goes_on_from_an_earlier_one(serve: Serve, tools: list[BaseTool]) -> None:
    before = run(serve(0.02), tools)
    with traced(before) as trace:
        pass
    assert trace.as_dict() == before


def test_a_run_is_saved_while_it_goes_on(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "run.json"
    seen: list[dict[str, object]] = []

    def reading(reply: str) -> Callable[[object], str]:
        def answer(_: object) -> str:
            seen.append(json.loads(saved.read_text()))
            return reply

        return answer

    server = serve(planner=reading(plan_text("double")), generator=reading("Answer: 42"))
    assert main(["q", "--model", server.spec, "--tools", "tests.graph.conftest:double_tool", "--save", str(saved)]) == 0
    assert [(part["finished"], part["question"]) for part in seen] == [(False, "q")] * 2
    assert len(seen[-1]["memory"]) == 1  # type: ignore[arg-type]
    assert json.loads(saved.read_text())["finished"] is True


def test_a_step_that_is_planned_ahead_stands_at_its_own_turn(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(
        planner=[plan_text("double"), plan_text("shout"), plan_text("double")],
        executor=[calls_text({"number": 21}), calls_text({"text": "done"})],
        verifier=[verdict_text(then="continue", reason=""), verdict_text(reason="")],
    )
    steps = run(server, tools, speculate=True, analyse=False)["steps"]
    turns = {role: [step["turn"] for step in steps if step.get("role") == role] for role in ("executor", "verifier")}
    assert turns == {"executor": [1, 2], "verifier": [1, 2]}
    assert [step["turn"] for step in steps if "tool" in step] == [1, 2]
    planned = [step["turn"] for step in steps if step.get("role") == "planner"]
    assert planned[:2] == [1, 2]
    assert set(planned) <= {1, 2, 3}
