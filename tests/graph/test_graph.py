"""Whole runs of the real graph."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver

from evals.speed.fake_server import ChatReply, ChatRequest
from graph import Context, answer_directly, build_graph
from graph.errors import ConfigError, DataError, ModelRejected, ModelUnavailable
from tests.graph.conftest import Capturing, Serve, calls_text, judged, plan_text, prompts, verdict_text
from tools.card import Example, Step, ToolCard


async def test_a_question_is_answered_by_four_modules(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    state = await build_graph(tools=tools).ainvoke({"question": "What is 2 x 21?"}, context=Context(model=server.spec))
    assert state["answer"] == "42"
    assert state["analysis"] == "A number is asked for."
    assert state["ended_by"] == "verifier"
    [turn] = state["memory"]
    assert turn["plan"]["tool_name"] == "double"
    assert [(call["arguments"], call["result"], call["error"]) for call in turn["calls"]] == [
        ({"number": 21}, "42", None)
    ]
    assert turn["verdict"] == {
        "accepted": True, "stop": True, "reason": "it is known", "answer": "", "missing": "", "source": "model",
    }  # fmt: skip
    assert [type(message) for message in state["messages"]] == [HumanMessage, AIMessage]
    assert {role: cost["calls"] for role, cost in state["usage"].items()} == dict.fromkeys(
        ("analyst", "planner", "executor", "verifier", "generator"), 1
    )
    assert all(cost["input_tokens"] > 0 and cost["seconds"] > 0 for cost in state["usage"].values())
    json.dumps({key: value for key, value in state.items() if key != "messages"})


def test_sync_and_async_runs_are_the_same(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(
        verifier=[verdict_text(then="continue"), verdict_text()] * 2,
        executor=[calls_text({"number": 1}, {"number": 2}), calls_text({"number": 3})] * 2,
    )
    graph = build_graph(tools=tools)
    context = Context(model=server.spec)
    by_thread = graph.invoke({"question": "q"}, context=context)
    by_loop = asyncio.run(graph.ainvoke({"question": "q"}, context=context))
    for state in (by_thread, by_loop):
        assert [[call["result"] for call in turn["calls"]] for turn in state["memory"]] == [["2", "4"], ["6"]]
    assert by_thread["answer"] == by_loop["answer"]


async def test_planner_prompts_are_append_only(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(
        planner=[plan_text("double", "first"), "no plan at all", plan_text("double", "third")],
        executor=[calls_text({"number": 1}), calls_text({"number": 3})],
        verifier=[verdict_text(then="continue"), verdict_text()],
    )
    context = Context(model=server.spec)
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=context)
    first, second, third = prompts(server, "planner")
    replies = [("assistant", turn["reply"]) for turn in state["memory"]]
    assert second[: len(first) + 1] == [*first, replies[0]]
    assert third[: len(second) + 1] == [*second, replies[1]]
    assert "Turns left: 10" in first[-1][1]
    assert "Turns left: 9" in second[-1][1]
    assert "names no tool" in third[-1][1]


async def test_two_runs_share_their_prompts_up_to_the_first_difference(serve: Serve, tools: list[BaseTool]) -> None:
    def verdict(request: ChatRequest) -> str:
        return verdict_text(then="stop" if request.turn == 2 else "continue")

    server = serve(executor=[calls_text({"number": number}) for number in (1, 2, 1, 3)], verifier=verdict)
    graph = build_graph(tools=tools)
    start = {"question": "q", "analysis": "made once for the whole group"}
    for _ in range(2):
        await graph.ainvoke(start, context=Context(model=server.spec))
    one, one_later, other, other_later = prompts(server, "planner")
    assert one == other
    assert one_later == other_later, "the first turns were the same, and so is all that follows from them"
    assert not server.asked("analyst")


async def test_a_rejected_result_never_reaches_the_generator(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(
        executor=[calls_text({"number": 1000}), calls_text({"number": 21})],
        verifier=[verdict_text("reject", "stop", "made up"), verdict_text()],
    )
    context = Context(model=server.spec, report=True)
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=context)
    assert [turn["verdict"]["accepted"] for turn in state["memory"]] == [False, True]
    for role in ("generator", "report"):
        [[_, (_, facts)]] = prompts(server, role)
        assert "42" in facts
        assert "2000" not in facts
    assert state["report"].startswith("The answer is 42")


async def test_should_not_stop_goes_on(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(
        executor=[calls_text({"number": 1}), calls_text({"number": 2})],
        verifier=["Explanation: one part is missing\nConclusion: We should not stop yet.", verdict_text()],
    )
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec))
    assert len(state["memory"]) == 2


async def test_a_step_that_did_not_help_names_the_other_tools(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(executor=[calls_text({"number": -1}), calls_text({"number": 21})])
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec))
    failed, good = (turn["observation"] for turn in state["memory"])
    assert "Choose another tool (shout)" in failed
    assert "Choose another tool" not in good


async def test_the_generator_reads_what_the_verifier_concluded(serve: Serve, tools: list[BaseTool]) -> None:
    verdict = {**json.loads(verdict_text()), "answer": "forty-two"}
    server = serve(verifier=json.dumps(verdict))
    await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec))
    assert "the answer is: forty-two" in prompts(server, "generator")[0][1][1]


async def test_a_generator_without_results_is_asked_to_guess(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(executor="no call")
    await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec))
    assert "nothing that held. Answer from your own knowledge" in prompts(server, "generator")[0][1][1]


async def test_the_turn_budget_ends_in_an_answer(serve: Serve, tools: list[BaseTool]) -> None:
    numbers = iter(range(100))
    server = serve(executor=lambda r: calls_text({"number": next(numbers)}), verifier=verdict_text(then="continue"))
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec, max_turns=4))
    assert (len(state["memory"]), state["ended_by"], state["answer"]) == (4, "turns", "42")
    assert "Turns left: 1 (the last)." in prompts(server, "planner")[3][-1][1]


@pytest.mark.parametrize("slow", ["planner", "executor", "verifier"])
@pytest.mark.parametrize("sync", [False, True])
async def test_the_time_budget_ends_in_an_answer(serve: Serve, tools: list[BaseTool], slow: str, sync: bool) -> None:
    texts = {"planner": plan_text("double"), "executor": calls_text({"number": 1}), "verifier": verdict_text()}
    server = serve(**{slow: ChatReply(texts[slow], delay=60)})
    graph = build_graph(tools=tools)
    context = Context(model=server.spec, max_seconds=1)
    began = time.perf_counter()
    if sync:
        state = await asyncio.to_thread(graph.invoke, {"question": "q"}, context=context)
    else:
        state = await graph.ainvoke({"question": "q"}, context=context)
    assert time.perf_counter() - began < 40
    assert (state["answer"], state["ended_by"]) == ("42", "time")


async def test_memory_does_not_leak_from_one_question_to_the_next(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    graph = build_graph(tools=tools, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "chat"}}
    context = Context(model=server.spec)
    await graph.ainvoke({"messages": [HumanMessage("What is 2 x 21?")]}, config, context=context)
    state = await graph.ainvoke({"messages": [HumanMessage("And what is 2 x 22?")]}, config, context=context)
    assert state["question"] == "And what is 2 x 22?"
    assert len(state["memory"]) == 1
    assert state["usage"]["planner"]["calls"] == 1
    assert [message.text for message in state["messages"]] == ["What is 2 x 21?", "42", "And what is 2 x 22?", "42"]
    opening = prompts(server, "planner")[1][1][1]
    assert opening.startswith("Conversation so far:\nUser: What is 2 x 21?\nAssistant: 42\n\nQuestion: And what is")
    assert len(server.asked("analyst")) == 2


async def test_the_answer_of_a_chat_is_a_source_of_its_next_question(serve: Serve) -> None:
    server = serve(
        planner=[plan_text("python", "Compute 17 * 46"), plan_text("python", "Compute 782 * 2", "782")],
        executor=["```python\nprint(17 * 46)\n```", "```python\nprint(782 * 2)\n```"],
        verifier=[judged("782"), judged("1564")],
        generator=["Answer: 782", "Answer: 1564"],
    )
    graph = build_graph(tools=["python"], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "chat"}}
    context = Context(model=server.spec, checks="on", max_turns=1)
    for question in ("What is 17 * 46?", "And that times 2?"):
        state = await graph.ainvoke({"messages": [HumanMessage(question)]}, config, context=context)
    assert (state["answer"], state["ended_by"]) == ("1564", "verifier")
    first, second = (prompt[-1][1] for prompt in prompts(server, "analyst"))
    assert first == "Question: What is 17 * 46?"
    said = "Conversation so far:\nUser: What is 17 * 46?\nAssistant: 782\n\n"
    assert second.startswith(f"{said}Next question: And that times 2?\n\nReply with this next question, rewritten")
    assert prompts(server, "executor")[1][-1][1].startswith(f"{said}Question (for reference): And that times 2?")


async def test_captured_turns_do_not_leak_from_one_question_to_the_next(serve: Serve, tools: list[BaseTool]) -> None:
    planner = Capturing(messages=iter([plan_text("double", goal) for goal in ("first", "second")]))
    graph = build_graph(tools=tools, models={"planner": planner}, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "chat"}}
    context = Context(model=serve().spec)
    for goal in ("first", "second"):
        state = await graph.ainvoke({"question": f"{goal}?"}, config, context=context)
        assert state["planner_turns"] == [{"text": plan_text("double", goal)}]


async def test_questions_can_follow_each_other_without_messages(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    graph = build_graph(tools=tools, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    context = Context(model=server.spec)
    for question in ("first?", "second?", "second?"):
        state = await graph.ainvoke({"question": question}, config, context=context)
        assert (state["question"], len(state["memory"])) == (question, 1)
    assert len(state["messages"]) == 6
    assert len(server.asked("analyst")) == 3


async def test_a_new_question_after_an_interrupted_one_starts_clean(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(verifier=[verdict_text(then="continue"), verdict_text()])
    saver = InMemorySaver()
    config: Any = {"configurable": {"thread_id": "t"}}
    context = Context(model=server.spec)
    paused = build_graph(tools=tools, checkpointer=saver, interrupt_after=["verifier"])
    await paused.ainvoke({"question": "first?"}, config, context=context)
    state = await build_graph(tools=tools, checkpointer=saver).ainvoke({"question": "second?"}, config, context=context)
    assert (state["question"], len(state["memory"])) == ("second?", 1)


@pytest.mark.parametrize("change", [{"analysis": "a better one"}, {"question": "another?"}])
async def test_a_run_goes_on_with_what_a_human_changed_at_a_pause(
    serve: Serve, tools: list[BaseTool], change: dict[str, str]
) -> None:
    server = serve(executor=[calls_text({"number": n}) for n in (1, 2, 3)], verifier=verdict_text(then="continue"))
    graph = build_graph(tools=tools, checkpointer=InMemorySaver(), interrupt_after=["verifier"])
    config: Any = {"configurable": {"thread_id": "t"}}
    context = Context(model=server.spec, max_turns=2)
    await graph.ainvoke({"question": "q"}, config, context=context)
    await graph.aupdate_state(config, change)
    state = await graph.ainvoke(None, config, context=context)
    opening = prompts(server, "planner")[-1][1][1]
    if "question" in change:
        assert (state["question"], len(state["memory"])) == ("another?", 1), "another question is another run"
        return
    assert len(state["memory"]) == 2
    assert "Analysis: a better one" in opening
    assert len(server.asked("analyst")) == 1


async def test_models_and_temperatures_reach_the_server(serve: Serve, tools: list[BaseTool]) -> None:
    one, two = serve(), serve()
    context = Context(model=one.spec, planner=two.spec, temperature=0.25, planner_temperature=0.75, max_tokens=77)
    await build_graph(tools=tools).ainvoke({"question": "q"}, context=context)
    assert {request.role for request in two.requests} == {"planner"}
    assert {request.role for request in one.requests} == {"analyst", "executor", "verifier", "generator"}
    assert two.requests[0].body["temperature"] == 0.75
    assert {request.body["temperature"] for request in one.requests} == {0.25}
    for request in one.requests + two.requests:
        assert request.body["max_tokens"] == (77 // 4 if request.role == "analyst" else 77)
        assert not {"top_p", "top_k", "frequency_penalty", "presence_penalty"} & set(request.body)


async def test_a_seed_reaches_the_server(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    config: Any = {"configurable": {"seed": 17}}
    await build_graph(tools=tools).ainvoke({"question": "q"}, config, context=Context(model=server.spec))
    assert {request.body["seed"] for request in server.requests} == {17}


async def test_models_given_to_the_graph_yield_to_the_context(serve: Serve, tools: list[BaseTool]) -> None:
    built, asked = serve(), serve()
    graph = build_graph(tools=tools, models={"planner": built.spec, "generator": built.spec})
    await graph.ainvoke({"question": "q"}, context=Context(model=asked.spec, generator=asked.spec))
    assert {request.role for request in built.requests} == {"planner"}


async def test_options_save_model_calls(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(planner=["Tool: shout\nInput: hello", "Tool: finish"])
    context = Context(model=server.spec, analyse=False, direct_arguments=True, verify="rules", answer="last_result")
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=context)
    assert (state["answer"], state["ended_by"]) == ("HELLO", "planner")
    assert {request.role for request in server.requests} == {"planner"}
    assert len(server.requests) == 2


async def test_a_planner_that_ends_the_run_itself_is_told_how(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(planner=["Tool: shout\nInput: hello", "Tool: nowhere\nInput: x", "Tool: finish"])
    context = Context(model=server.spec, analyse=False, direct_arguments=True, verify="rules", answer="last_result")
    await build_graph(tools=tools).ainvoke({"question": "q"}, context=context)
    first, second, third = prompts(server, "planner")
    assert "Tool: finish" not in first[-1][1]
    assert "answers the whole question, reply with Tool: finish" in second[-1][1]  # the step worked
    assert "Tool: finish" not in third[-1][1]  # it failed


async def test_example_runs_look_as_real_ones_do(serve: Serve, tools: list[BaseTool]) -> None:
    again = Step("shout", "", "", "", "HELLO", "HELLO")
    loud = Example("How loud?", "", "", "", "hello", result="HELLO", then=(again,))
    bare = Example("Left out, since another tells its result.", "", "", "", "x")
    unfinished = Example("Double 2", "", "", "", "2")
    cards = {"shout": ToolCard("a text", (bare, loud)), "double": ToolCard("a number", (unfinished,))}
    chosen = [tool.model_copy(update={"metadata": {"card": cards[tool.name]}}) for tool in tools]
    server = serve(planner=["Tool: shout\nInput: hello", "Tool: shout\nInput: HELLO", "Tool: finish\nInput: nothing"])
    context = Context(
        model=server.spec, analyse=False, direct_arguments=True, verify="rules", answer="last_result", max_turns=4
    )
    await build_graph(tools=chosen).ainvoke({"question": "How loud?"}, context=context)
    told = prompts(server, "planner")[-1]
    assert "Left out" not in str(told)
    assert [speaker for speaker, _ in told[:4]] == ["system", "user", "assistant", "user"]
    run = told[-5:]
    start = told.index(run[0])
    assert start < len(told) - 5
    assert told[start : start + 5] == run  # question, two steps with what they found
    assert told[start + 5] == ("assistant", "Tool: finish\nInput: nothing")
    assert ("assistant", "Tool: double\nInput: 2") in told


async def test_where_a_model_says_when_to_stop_the_planner_is_not_told_to(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(
        planner=["Tool: shout\nInput: hello", "Tool: shout\nInput: again"],
        verifier=[verdict_text(then="continue"), verdict_text()],
    )
    context = Context(model=server.spec, direct_arguments=True)
    await build_graph(tools=tools).ainvoke({"question": "q"}, context=context)
    assert not any("finish" in text for prompt in prompts(server, "planner") for _, text in prompt)


async def test_a_full_context_ends_in_an_answer(serve: Serve, tools: list[BaseTool]) -> None:
    full = ChatReply("maximum context length is 4096 tokens, you sent 9000", status=400)
    server = serve(planner=[plan_text("double"), full], verifier=verdict_text(then="continue"))
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec))
    assert (state["answer"], state["ended_by"], len(state["memory"])) == ("42", "context", 1)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (ChatReply("overloaded", status=503), ModelUnavailable),
        (ChatReply("", raw=b'{"choices": [{"mess'), ModelUnavailable),
        (ChatReply("bad key", status=401), ModelRejected),
    ],
)
async def test_infrastructure_failures_leave_the_run(
    serve: Serve, tools: list[BaseTool], reply: ChatReply, error: type[Exception]
) -> None:
    server = serve(verifier=reply)
    with pytest.raises(error):
        await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec))
    assert not server.asked("generator"), "no answer is made of a failure"


async def test_a_passing_failure_is_retried(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(planner=[ChatReply("overloaded", status=503), plan_text("double")])
    state = await build_graph(tools=tools).ainvoke({"question": "q"}, context=Context(model=server.spec))
    assert state["answer"] == "42"


async def test_tokens_and_steps_are_streamed(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    graph = build_graph(tools=tools)
    nodes: list[str] = []
    tokens: dict[str, str] = {}
    context = Context(model=server.spec)
    async for mode, part in graph.astream({"question": "q"}, context=context, stream_mode=["updates", "messages"]):
        if mode == "updates":
            nodes += part
        else:
            chunk, metadata = part
            node = metadata["langgraph_node"]
            tokens[node] = tokens.get(node, "") + str(chunk.text)
    assert nodes[-4:] == ["planner", "executor", "verifier", "generator"] or set(nodes) >= {"planner", "generator"}
    assert plan_text("double") in tokens["planner"]
    assert "Answer: 42" in tokens["generator"]


async def test_the_bare_model_answers_alone(serve: Serve) -> None:
    server = serve()
    state = await answer_directly("q", Context(model=server.spec))
    assert (state["answer"], state["memory"], len(server.requests)) == ("7", [], 1)


async def test_no_question_is_said(serve: Serve, tools: list[BaseTool]) -> None:
    with pytest.raises(DataError, match="no question"):
        await build_graph(tools=tools).ainvoke({"question": "  "}, context=Context(model=serve().spec))


async def test_more_turns_than_the_graph_was_built_for_are_refused_at_the_start(
    serve: Serve, tools: list[BaseTool]
) -> None:
    server = serve()
    graph = build_graph(tools=tools, max_turns=3)
    with pytest.raises(ConfigError, match="built for 3 turns"):
        await graph.ainvoke({"question": "q"}, context=Context(model=server.spec, max_turns=4))
    assert not server.requests


def test_wrong_settings_are_refused(tools: list[BaseTool]) -> None:
    for wrong in (
        {"max_turns": 0},
        {"max_turns": 2.5},
        {"max_turns": True},
        {"max_seconds": "60"},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"verify": "never"},
        {"model": 3},
        {"analyse": "no"},
        {"tools": "python"},
        {"tools": ()},
        {"tools": (1,)},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Context(**wrong)
    with pytest.raises(ConfigError, match="no role 'boss'"):
        build_graph(models={"boss": "embedded"})
    with pytest.raises(ConfigError, match="Two tools"):
        build_graph(tools=[*tools, tools[0]])
    assert Context(tools=["python"]).tools == ("python",)


async def test_runs_on_one_loop_do_not_mix(serve: Serve, tools: list[BaseTool]) -> None:
    def number(request: ChatRequest) -> str:
        return str(request.messages[-1]["content"].split("number ")[1].split()[0])

    server = serve(
        planner=lambda r: plan_text("double", goal=f"double the number {number(r)}"),
        executor=lambda r: calls_text({"number": int(number(r))}),
        generator=lambda r: "Answer: " + r.messages[-1]["content"].split("Result: ")[1].split()[0],
    )
    graph = build_graph(tools=tools)
    context = Context(model=server.spec)
    runs = [graph.ainvoke({"question": f"number {n} doubled"}, context=context) for n in range(40)]
    answers = [state["answer"] for state in await asyncio.gather(*runs)]
    assert answers == [str(2 * n) for n in range(40)]
