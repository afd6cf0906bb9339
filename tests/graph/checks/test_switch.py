"""The checks for small models can be switched off, and are off for all but embedded models."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.tools import BaseTool

from graph import Context, build_graph
from graph.checks.english import in_latin_script
from graph.models.openai_compatible import OpenAICompatibleChat
from graph.models.spec import make_model
from graph.state import State
from tests.graph.conftest import TAKEN, Serve, calls_text, passages_tool, plan_text, prompts, verdict_text


class SmallChat(OpenAICompatibleChat):
    is_small = True


def computed(answer: str) -> str:
    return json.dumps({**json.loads(verdict_text()), "answer": answer})


async def ask(serve: Serve, tools: list[BaseTool], question: str = "q", **script: Any) -> State:
    context = Context(model=serve(**script).spec, checks="off", max_turns=2)
    state: State = await build_graph(tools=tools).ainvoke({"question": question}, context=context)
    return state


async def test_a_verifier_may_stop_on_an_answer_that_it_computed(serve: Serve, tools: list[BaseTool]) -> None:
    state = await ask(serve, tools, executor=calls_text({"number": 21}), verifier=computed("54"))
    [turn] = state["memory"]
    assert (turn["verdict"]["stop"], turn["verdict"]["answer"], state["ended_by"]) == (True, "54", "verifier")


@pytest.mark.parametrize("reason", ["42 is not all", "does not answer when it was taken"])
async def test_a_rejection_stands(serve: Serve, tools: list[BaseTool], reason: str) -> None:
    state = await ask(
        serve,
        [*tools, passages_tool()],
        TAKEN,
        planner=[plan_text("double"), plan_text("look_up")],
        executor=[calls_text({"number": 21}), calls_text({"name": "place"})],
        verifier=verdict_text("reject", "continue", reason),
    )
    assert [turn["verdict"]["accepted"] for turn in state["memory"]] == [False, False]
    assert [turn["verdict"]["source"] for turn in state["memory"]] == ["model", "model"]


async def test_an_answer_is_not_asked_about_and_reaches_the_generator(serve: Serve) -> None:
    server = serve(
        planner=plan_text("look_up"), executor=calls_text({"name": "place"}), verifier=computed("in May, by surprise")
    )
    context = Context(model=server.spec, checks="off")
    await build_graph(tools=[passages_tool()]).ainvoke({"question": TAKEN}, context=context)
    assert len(server.asked("verifier")) == 1
    assert "the answer is: in May, by surprise" in prompts(server, "generator")[0][1][1]


async def test_the_executor_reads_the_whole_plan_and_is_taken_at_its_word(serve: Serve) -> None:
    goal, context = "find the film that Aman Chang directed", "he made 17 films in Lima"
    server = serve(planner=plan_text("look_up", goal, context), executor=calls_text({"name": "Aman Chang"}))
    settings = Context(model=server.spec, checks="off", max_turns=1)
    state = await build_graph(tools=[passages_tool()]).ainvoke({"question": TAKEN}, context=settings)
    [prompt] = prompts(server, "executor")
    assert prompt[-1][1] == f"Question (for reference): {TAKEN}\n\nSub-goal: {goal}\nContext: {context}"
    assert state["memory"][0]["calls"][0]["arguments"] == {"name": "Aman Chang"}


async def test_what_belongs_to_the_agent_is_checked_all_the_same(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(planner=[plan_text("calculator"), plan_text("double")], verifier=verdict_text(then="continue"))
    context = Context(model=server.spec, checks="off", max_turns=3)
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=context)
    assert [turn["error"] and turn["error"]["kind"] for turn in state["memory"]] == ["unknown_tool", None, "repeat"]


@pytest.mark.parametrize(("chat", "kept"), [(OpenAICompatibleChat, True), (SmallChat, False)])
async def test_by_default_the_model_of_the_role_decides(
    serve: Serve, tools: list[BaseTool], chat: type[OpenAICompatibleChat], kept: bool
) -> None:
    server = serve(verifier=computed("54"))
    model, _, address = server.spec.removeprefix("vllm:").partition("@")
    verifier = chat(model=model, base_url=address)
    graph = build_graph(tools=tools, models={"verifier": verifier})
    state = await graph.ainvoke({"question": "q"}, context=Context(model=server.spec, max_turns=1))
    assert (state["memory"][0]["verdict"]["answer"] == "54") == kept


def test_embedded_models_are_checked_by_default() -> None:
    assert getattr(make_model("embedded"), "is_small", False)
    assert not getattr(make_model("name@http://127.0.0.1:9/v1"), "is_small", False)


async def test_a_question_in_another_script_is_left_alone(serve: Serve) -> None:
    server = serve(
        planner=plan_text("look_up", "查找秘鲁的首都", "人口 17"),
        executor=calls_text({"name": "place"}),
        verifier=computed("利马市"),
    )
    context = Context(model=server.spec, checks="on")
    state = await build_graph(tools=[passages_tool()]).ainvoke(
        {"question": "秘鲁的首都是利马市还是库斯科市？"}, context=context
    )
    [turn] = state["memory"]
    assert (turn["verdict"]["answer"], state["ended_by"]) == ("利马市", "verifier")
    assert "人口 17" in prompts(server, "executor")[0][1][1]
    assert len(server.asked("verifier")) == 1


@pytest.mark.parametrize(
    ("text", "latin"),
    [
        ("", True),
        ("17 * 3", True),
        ("Wer baute die Brücke in Kraków, Đà Nẵng?", True),
        ("Find α where sin α = 0.5 and say it in degrees", True),
        ("Who wrote 红楼梦?", False),
        ("Кто построил мост?", False),
        ("من بنى الجسر؟", False),
        ("Pythonで合計を計算する", False),
    ],
)
def test_latin_script(text: str, latin: bool) -> None:
    assert in_latin_script(text) == latin
    assert in_latin_script("Lima", text) == latin
