"""Tools that ask a human themselves: every question gets its own answer, whatever else is asked in the same step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import date
from inspect import signature
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, Interrupt, interrupt
from typing_extensions import TypedDict

from graph import Context, build_graph
from tests.graph.conftest import Serve, calls_text, plan_text

Answer = Callable[[Sequence[Interrupt]], Any]

BILLS = ({"to": "Anna", "amount": 5}, {"to": "Bert", "amount": 5000})
MODES = pytest.mark.parametrize("mode", ["sync", "async"])


def paying(ledger: list[str]) -> list[BaseTool]:
    """The same tool as a plain and as an asynchronous function; a large amount is asked about twice."""

    def pay(to: str, amount: int) -> str:
        """Pay somebody."""
        said = [interrupt({"to": to, "question": 1})]
        if amount > 100:
            said.append(interrupt({"to": to, "question": 2}))
        if all(word == "yes" for word in said):
            ledger.append(to)
        return f"{to}: {' '.join(map(str, said))}"

    async def apay(to: str, amount: int) -> str:
        return pay(to, amount)

    return [
        StructuredTool.from_function(pay),
        StructuredTool.from_function(coroutine=apay, name="pay", description="Pay somebody."),
    ]


async def results(
    serve: Serve, tool: BaseTool, mode: str, answer: Answer, ask_before: tuple[str, ...] = ()
) -> list[str]:
    """What the calls of the step return when every pause is answered by `answer`."""
    server = serve(planner=plan_text(tool.name), executor=calls_text(*BILLS))
    graph = build_graph(tools=[tool], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    context = Context(model=server.spec, max_turns=1, ask_before=ask_before)

    async def go(given: Any) -> dict[str, Any]:
        if mode == "sync":
            return dict(await asyncio.to_thread(graph.invoke, given, config, context=context))
        return dict(await graph.ainvoke(given, config, context=context))

    state = await go({"question": "q"})
    for _ in range(8):
        if not (pending := state.get("__interrupt__")):
            break
        state = await go(Command(resume=answer(pending)))
    assert len(server.asked("executor")) == 1, "the arguments are not written again after a pause"
    return [call["result"] for call in state["memory"][0]["calls"]]


def told(question: Interrupt) -> str:
    return "no" if question.value in ({"to": "Anna", "question": 1}, {"to": "Bert", "question": 2}) else "yes"


@MODES
@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize(
    "answer",
    [
        lambda pending: {question.id: told(question) for question in pending},
        lambda pending: {pending[0].id: told(pending[0])},
        lambda pending: {pending[-1].id: told(pending[-1])},
    ],
)
async def test_each_call_gets_its_own_answers(serve: Serve, mode: str, kind: int, answer: Answer) -> None:
    ledger: list[str] = []
    assert await results(serve, paying(ledger)[kind], mode, answer) == ["Anna: no", "Bert: yes no"]
    assert ledger == []


@MODES
async def test_all_questions_of_a_step_are_asked_at_once(serve: Serve, mode: str) -> None:
    asked: list[list[Any]] = []

    def answer(pending: Sequence[Interrupt]) -> Any:
        asked.append([(question.value["to"], question.value["question"]) for question in pending])
        return {question.id: "yes" for question in pending}

    ledger: list[str] = []
    await results(serve, paying(ledger)[0], mode, answer)
    assert asked == [[("Anna", 1), ("Bert", 1)], [("Bert", 2)]]
    assert sorted(ledger) == ["Anna", "Bert"]


@MODES
@pytest.mark.parametrize("kind", [0, 1])
async def test_a_yes_to_the_step_is_no_yes_to_what_its_tools_ask(serve: Serve, mode: str, kind: int) -> None:
    """LangGraph would hand the answer that came without an id to the next question without one of its own."""

    def answer(pending: Sequence[Interrupt]) -> Any:
        if "calls" in pending[0].value:
            return True
        return {pending[0].id: told(pending[0])}

    said = await results(serve, paying([])[kind], mode, answer, ask_before=("pay",))
    assert said == ["Anna: no", "Bert: yes no"]


@MODES
async def test_a_question_does_not_stop_the_other_calls(serve: Serve, mode: str) -> None:
    done: list[str] = []

    async def act(to: str, amount: int) -> str:
        """Act."""
        if to == "Anna":
            return str(interrupt("May I?"))
        await asyncio.sleep(0.2)  # longer than the other call needs to ask
        done.append(to)
        return "done"

    tool = StructuredTool.from_function(coroutine=act, name="act")
    assert await results(serve, tool, mode, lambda _: "yes") == ["yes", "done"]
    assert done == ["Bert"], "what was done before the pause is not done again"


@MODES
@pytest.mark.skipif("response_schema" not in signature(interrupt).parameters, reason="LangGraph before 1.2")
async def test_an_answer_of_the_wrong_form_can_be_given_again(serve: Serve, mode: str) -> None:
    class Form(TypedDict):
        sure: bool

    def act(to: str, amount: int) -> str:
        """Act."""
        return str(interrupt(f"Sure, {to}?", response_schema=Form)["sure"])

    server = serve(planner=plan_text("act"), executor=calls_text(BILLS[0]))
    graph = build_graph(tools=[StructuredTool.from_function(act)], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    context = Context(model=server.spec, max_turns=1)

    async def go(given: Any) -> dict[str, Any]:
        if mode == "sync":
            return dict(await asyncio.to_thread(graph.invoke, given, config, context=context))
        return dict(await graph.ainvoke(given, config, context=context))

    await go({"question": "q"})
    with pytest.raises(ValueError, match="sure"):
        await go(Command(resume={"certain": 1}))
    state = await go(Command(resume={"sure": False}))
    assert state["memory"][0]["calls"][0]["result"] == "False"


@pytest.mark.parametrize("verify", ["rules", "model"])
async def test_changed_arguments_may_be_objects(serve: Serve, verify: Any) -> None:
    def book(when: date) -> str:
        """Book a day."""
        return f"booked {when}"

    server = serve(planner=plan_text("book"), executor=calls_text({"when": "2024-01-02"}))
    graph = build_graph(tools=[StructuredTool.from_function(book)], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    context = Context(model=server.spec, max_turns=1, ask_before=("book",), verify=verify)
    await graph.ainvoke({"question": "q"}, config, context=context)
    changed = Command(resume={"arguments": [{"when": date(2024, 1, 3)}]})
    state = await graph.ainvoke(changed, config, context=context)
    assert [call["result"] for call in state["memory"][0]["calls"]] == ["booked 2024-01-03"]


@pytest.mark.parametrize("verify", ["rules", "model"])
@pytest.mark.parametrize("key", [date(2024, 1, 3), 7, None])
async def test_changed_arguments_may_have_keys_that_are_no_texts(serve: Serve, verify: Any, key: object) -> None:
    def book(tables: Any) -> str:
        """Book tables."""
        return f"booked {tables}"

    server = serve(planner=plan_text("book"), executor=calls_text({"tables": {}}))
    graph = build_graph(tools=[StructuredTool.from_function(book)], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    context = Context(model=server.spec, max_turns=2, ask_before=("book",), verify=verify)
    await graph.ainvoke({"question": "q"}, config, context=context)
    changed = Command(resume={"arguments": [{"tables": {key: 2, "x": 1}}]})
    state = await graph.ainvoke(changed, config, context=context)
    if verify == "rules":  # the same call once more is noticed as such
        state = await graph.ainvoke(changed, config, context=context)
        assert state["memory"][1]["error"]["kind"] == "repeat"
    assert state["memory"][0]["calls"][0]["result"] == f"booked {{'{key}': 2, 'x': 1}}"
