"""Verdicts of a small model are held to the results that they judge, in the real graph."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from langchain_core.tools import BaseTool, StructuredTool

from graph import Context, build_graph
from graph.checks import VERDICT_CHECKS
from graph.checks.evidence import Evidence
from graph.checks.verdicts import result_of_the_program, revised
from graph.state import Verdict
from tests.graph.conftest import TAKEN, Serve, calls_text, judged, passages_tool, plan_text, prompts, verdict_text
from tools.card import ToolCard


@pytest.mark.parametrize("field", ["answer", "reason"])
async def test_a_stop_on_a_number_from_nowhere_goes_on(serve: Serve, tools: list[BaseTool], field: str) -> None:
    def judged(number: int) -> str:
        verdict = json.loads(verdict_text(reason="the numbers are known"))
        return json.dumps({**verdict, field: f"it is {number}"})

    server = serve(
        planner=[plan_text("double"), plan_text("double", "find the rest")],
        executor=[calls_text({"number": 21}), calls_text({"number": 48})],
        verifier=[judged(54), judged(96)],
    )
    state = await build_graph(tools=tools).ainvoke(
        {"question": "Double twenty-one and forty-eight."}, context=Context(model=server.spec, checks="on")
    )
    first, second = (turn["verdict"] for turn in state["memory"])
    assert (first["accepted"], first["stop"], first["answer"]) == (True, False, "")
    assert "Still missing: the answer is in no result: compute it" in state["memory"][0]["observation"]
    assert (second["accepted"], second["stop"]) == (True, True)


async def test_a_rejection_that_quotes_the_results_figures_accepts(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve(
        executor=[calls_text({"number": 21}), calls_text({"number": 50})],
        verifier=[verdict_text("reject", "continue", "42 is not all"), verdict_text("reject", "continue", "42, no 7")],
    )
    context = Context(model=server.spec, checks="on", max_turns=2)
    state = await build_graph(tools=tools).ainvoke({"question": "Double 21 and 50."}, context=context)
    assert [turn["verdict"]["accepted"] for turn in state["memory"]] == [True, False]


@pytest.mark.parametrize(("question", "accepted"), [("Who founded Port Ellery?", True), ("What is 3 * 7?", False)])
async def test_passages_that_hold_the_questions_words_are_not_rejected(
    serve: Serve, question: str, accepted: bool
) -> None:
    def look_up(name: str) -> str:
        """Look something up."""
        return "Port Ellery was founded by a shipwright."

    card = ToolCard(input="a name", quotes_sources=True)
    tool = StructuredTool.from_function(look_up, metadata={"card": card})
    server = serve(
        planner=plan_text("look_up"),
        executor=calls_text({"name": "it"}),
        verifier=verdict_text("reject", "continue", "does not answer directly"),
    )
    context = Context(model=server.spec, checks="on", max_turns=1)
    state = await build_graph(tools=[tool]).ainvoke({"question": question}, context=context)
    assert state["memory"][0]["verdict"]["accepted"] == accepted


@pytest.mark.parametrize(("answer", "told"), [("Hong Kong", "a date or a number"), ("in May, by surprise", "'may'")])
async def test_an_answer_that_cannot_be_one_is_asked_about_once(serve: Serve, answer: str, told: str) -> None:
    server = serve(planner=plan_text("look_up"), executor=calls_text({"name": "film"}), verifier=judged(answer))
    state = await build_graph(tools=[passages_tool()]).ainvoke(
        {"question": TAKEN}, context=Context(model=server.spec, checks="on")
    )
    first, second = prompts(server, "verifier")
    assert told in second[-1][1]
    assert len(first) + 2 == len(second)
    [turn] = state["memory"]
    assert (turn["verdict"]["stop"], turn["verdict"]["answer"]) == (True, answer)


async def test_a_verifier_that_takes_the_hint_says_what_is_missing(serve: Serve) -> None:
    server = serve(
        planner=[plan_text("look_up"), plan_text("look_up", "find the rest")],
        executor=[calls_text({"name": "film"}), calls_text({"name": "place"})],
        verifier=[judged("Hong Kong"), judged("unknown", "when Hong Kong was taken"), judged("1842")],
    )
    state = await build_graph(tools=[passages_tool()]).ainvoke(
        {"question": TAKEN}, context=Context(model=server.spec, checks="on")
    )
    assert "Still missing: when Hong Kong was taken" in state["memory"][0]["observation"]
    assert [turn["verdict"]["stop"] for turn in state["memory"]] == [False, True]


LONG = "in 1842, by British troops that had landed"


@pytest.mark.parametrize(("answer", "told"), [(LONG, True), ("Hong Kong", False), ("in May, by surprise", False)])
async def test_the_generator_is_not_told_an_answer_that_cannot_be_one(serve: Serve, answer: str, told: bool) -> None:
    passage = f"Hong Kong was taken {LONG}."
    server = serve(planner=plan_text("look_up"), executor=calls_text({"name": "place"}), verifier=judged(answer))
    await build_graph(tools=[passages_tool(passage)]).ainvoke(
        {"question": TAKEN}, context=Context(model=server.spec, checks="on")
    )
    prompt = prompts(server, "generator")[0][1][1]
    assert passage in prompt
    assert ("The verifier" in prompt) == told


@pytest.mark.parametrize(
    ("checks", "instructions", "written"), [("on", "", False), ("on", "Answer in Latin.", True), ("off", "", True)]
)
async def test_a_short_answer_that_was_read_is_not_written_anew(
    serve: Serve, checks: Literal["on", "off"], instructions: str, written: bool
) -> None:
    server = serve(planner=plan_text("look_up"), executor=calls_text({"name": "place"}), verifier=judged("1842"))
    state = await build_graph(tools=[passages_tool()], instructions=instructions).ainvoke(
        {"question": TAKEN}, context=Context(model=server.spec, checks=checks)
    )
    assert state["answer"] == ("42" if written else "1842")
    assert state["messages"][-1].text.endswith(state["answer"])
    assert len(prompts(server, "generator")) == written


@pytest.mark.parametrize(
    "asked",
    [
        f"Explain in three full sentences: {TAKEN}",
        f"{TAKEN} Say why.",
        f"{TAKEN} Answer in one sentence.",
        "Warum ist das so?",
    ],
)
async def test_a_question_for_more_than_a_few_words_is_answered_by_the_generator(serve: Serve, asked: str) -> None:
    server = serve(planner=plan_text("look_up"), executor=calls_text({"name": "place"}), verifier=judged("1842"))
    context = Context(model=server.spec, checks="on")
    await build_graph(tools=[passages_tool()]).ainvoke({"question": asked}, context=context)
    assert len(prompts(server, "generator")) == 1


async def test_a_rejection_that_gives_the_result_as_the_answer_accepts_it(serve: Serve, tools: list[BaseTool]) -> None:
    verdict = {**json.loads(judged("42")), "result": "reject", "next": "continue"}
    server = serve(verifier=json.dumps(verdict))
    state = await build_graph(tools=tools).ainvoke(
        {"question": "Double 21."}, context=Context(model=server.spec, checks="on")
    )
    [turn] = state["memory"]
    assert (turn["verdict"]["accepted"], turn["verdict"]["stop"]) == (True, True)


async def test_a_rejected_result_that_cannot_be_the_answer_stays_rejected(serve: Serve) -> None:
    verdict = {**json.loads(judged("Paris")), "result": "reject", "next": "continue", "reason": "it is a place"}
    server = serve(
        planner=plan_text("look_up"), executor=calls_text({"name": "the tower"}), verifier=json.dumps(verdict)
    )
    context = Context(model=server.spec, checks="on", max_turns=1)
    state = await build_graph(tools=[passages_tool("Paris")]).ainvoke(
        {"question": "When was the Eiffel Tower built?"}, context=context
    )
    [turn] = state["memory"]
    assert (turn["verdict"]["accepted"], turn["verdict"]["stop"], state["ended_by"]) == (False, False, "turns")


@pytest.mark.parametrize(("turns", "hint"), [(1, True), (2, False)])
async def test_a_run_without_an_answer_ends_with_a_guess(
    serve: Serve, tools: list[BaseTool], turns: int, hint: bool
) -> None:
    verdicts = [judged("unknown", "the other number"), judged("42")]
    server = serve(executor=[calls_text({"number": 20}), calls_text({"number": 21})], verifier=verdicts)
    context = Context(model=server.spec, checks="off", max_turns=turns)
    await build_graph(tools=tools).ainvoke({"question": "Double 21."}, context=context)
    assert ("from your own knowledge" in prompts(server, "generator")[0][-1][1]) == hint


@pytest.mark.parametrize(
    ("answer", "result", "stops"),
    [
        ("12.5%", "0.125", True),
        ("4:30 pm", "16:30", True),
        ("1/3", "0.3333333333333333", True),
        ("15%", "0.125", False),
    ],
)
def test_a_number_that_a_result_has_in_another_form_is_computed(answer: str, result: str, stops: bool) -> None:
    verdict = Verdict(accepted=True, stop=True, reason="", answer=answer, missing="", source="model")
    evidence = Evidence(question="How much is it?", new=(result,), old=(), passages=False)
    assert revised(verdict, evidence, VERDICT_CHECKS)["stop"] == stops


@pytest.mark.parametrize(
    ("answer", "result", "stops"),
    [
        ("Wednesday", "She sank on 3 November 1748.", False),
        ("on a Wednesday", "The market is held on Mondays.", False),
        ("Monday", "It took a month.", False),
        ("Sunday", "Sunday", True),
        ("Sunday", "Sun 3 Nov 1748", True),
        ("the first Tuesday, 2024-03-05", "2024-03-05", True),  # the question names it
        ("Thursday", "Thurs 5 May", True),
        ("on Thursdays", "Its market is held on Thursdays.", True),
        ("3 November 1748", "She sank on 3 November 1748.", True),
    ],
)
def test_a_weekday_has_to_be_read_or_computed(answer: str, result: str, stops: bool) -> None:
    evidence = Evidence(
        question="On which day of the week did she sink, and when was the next Tuesday?",
        new=(result,),
        old=(),
        passages=True,
    )
    verdict = Verdict(accepted=True, stop=True, reason="", answer=answer, missing="", source="model")
    taken = revised(verdict, evidence, VERDICT_CHECKS)
    assert (taken["stop"], bool(taken["missing"])) == (stops, not stops)


@pytest.mark.parametrize(
    ("answer", "result", "tool", "given"),
    [
        ("980", "147000", "python", "147000"),
        ("980 seats", " 147000\n", "python", "147000"),
        ("980, 150", "147000", "python", "147000"),
        ("147000", "147000", "python", "147000"),
        ("147,000 seats, 980 for each", "147000", "python", "147,000 seats, 980 for each"),
        ("147 thousand", "147000", "python", "147 thousand"),
        ("26", "147000", "python", "26"),  # `value_not_computed` notices that
        ("the hall", "147000", "python", "the hall"),
        ("Quell Railway", "River Isk", "python", "River Isk"),
        ("no", "yes", "python", "yes"),
        ("no", "True", "python", "True"),
        ("the River Isk", "River Isk", "python", "the River Isk"),
        ("980", "1\n2\n3", "python", "980"),
        ("980", "7" * 100, "python", "980"),
        ("980", "seats: 147000", "python", "seats: 147000"),
        ("980", "147000", "look_up", "980"),
        ("River Isk", "0", "python", "River Isk"),  # its place in a list of the program
        ("980", "River Isk", "python", "980"),
    ],
)
def test_what_the_program_starts_from_is_no_answer(answer: str, result: str, tool: str, given: str) -> None:
    evidence = Evidence(
        question="How many seats does the hall offer in a year?",
        new=(result,),
        old=("[1] Hall\nThe hall has 980 seats and gives 150 performances a year.",),
        passages=False,
        inputs=("seats = 980\nprint(seats * 150)\nprint('River Isk' if 143 > 126 else 'Quell Railway', 'yes', 'no')",),
        tool=tool,
        computes_with="python",
    )
    said = Verdict(accepted=True, stop=True, reason="", answer=answer, missing="", source="model")
    assert result_of_the_program(said, evidence) == {**said, "answer": given}
    going_on: Verdict = {**said, "stop": False}
    assert result_of_the_program(going_on, evidence) == going_on
