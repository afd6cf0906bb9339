"""Amounts and choices are computed by a program from the passages, where the checks are on."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from langchain_core.tools import BaseTool, StructuredTool

from graph import Context, build_graph
from graph.checks.computing import program_next
from graph.checks.evidence import Evidence
from graph.checks.questions import is_computed
from tests.graph.conftest import Capturing, Serve, calls_text, judged, plan_text, prompts
from tools.card import ToolCard

OPERA = "The Opera of Valdane has 26 rows of 32 seats."
SEATS = "How many seats does the Opera of Valdane have?"
PROGRAM = "```python\nrows = 26\nseats_in_a_row = 32\nprint(rows * seats_in_a_row)\n```"


def missing(question: str, *passages: str, asked_for: tuple[str, ...] = (), tool: str = "python") -> str | None:
    """What is named as missing without asking a model."""
    evidence = Evidence(
        question, passages, (), passages=True, asked_for=asked_for, computes_with=tool, searches_with="look_up"
    )
    foreseen = program_next(evidence)
    return None if foreseen is None else foreseen.verdict["missing"]


@pytest.mark.parametrize(
    "question",
    [
        SEATS,
        "What is the average speed of the train to Valdane?",
        "Which opened first, the Opera of Valdane or its theatre?",
        "Who is the oldest singer of Valdane?",
        "Which of the towns near Valdane has the most inhabitants?",
        "Put the theatres of Valdane in the order of their opening.",
        "Were the founders of Valdane born in the same town? Answer yes or no.",
        "Is Valdane older than its opera? Answer yes or no.",
        "On which day of the week was the Opera of Valdane opened?",
    ],
)
def test_an_amount_and_a_choice_are_computed(question: str) -> None:
    told = missing(question, OPERA)
    assert told is not None
    assert "compute it from the results with the tool python" in told


@pytest.mark.parametrize(
    "question",
    [
        "Who designed the Opera of Valdane?",
        "When was the Opera of Valdane opened?",
        "In which town is the Opera of Valdane?",
        "What is the capital of Valdane?",
    ],
)
def test_a_fact_is_read(question: str) -> None:
    assert missing(question, OPERA) is None


def test_what_no_passage_names_is_searched_first() -> None:
    question = "By how many square kilometres is Sarn larger than Valdane?"
    assert missing(question, "Sarn covers 905 square kilometres.") == "a result about Valdane"
    told = ("a result about Valdane",)
    assert missing(question, "Sarn covers 905 square kilometres.", asked_for=told) is None
    assert "compute" in str(missing(question, "Valdane covers 640.", "Sarn covers 905.", asked_for=told))


def test_words_of_a_name_in_different_sentences_do_not_tell_it() -> None:
    question = "Which was opened first, the Valdane Opera or the Sarn Railway?"
    passages = "The Valdane Opera in Sarn was opened in 1931.\nThe town has a railway station."
    assert missing(question, passages) == "a result about Sarn Railway"


def test_names_in_another_script_are_left_to_the_model() -> None:
    assert missing(SEATS, "瓦尔丹歌剧院有二十六排，每排三十二个座位。") is None


def test_a_program_is_asked_for_once_and_only_where_one_can_be_run() -> None:
    told = missing(SEATS, OPERA)
    assert told is not None
    assert missing(SEATS, OPERA, asked_for=(told,)) is None
    assert missing(SEATS, OPERA, tool="") is None


def opera_tool(**passages: str) -> BaseTool:
    def look_up(name: str) -> str:
        """Look something up."""
        return passages.get(name.removeprefix("Find "), OPERA)

    card = ToolCard(input="a name", quotes_sources=True, plain_words=True)
    return StructuredTool.from_function(look_up, metadata={"card": card})


@pytest.mark.parametrize("checks", ["on", "off"])
async def test_the_program_serves_the_question(serve: Serve, checks: str) -> None:
    server = serve(
        planner=[plan_text("look_up", "find the rows"), plan_text("python", "find the rows", "7 rows")],
        executor=[*([calls_text({"name": "opera"})] if checks == "off" else []), PROGRAM],
        verifier=[judged("26", "the seats") if checks == "off" else judged("832"), judged("832")],
    )
    context = Context(model=server.spec, checks=checks, max_turns=2)  # type: ignore[arg-type]
    state = await build_graph(tools=[opera_tool(), "python"]).ainvoke({"question": SEATS}, context=context)
    first, second = state["memory"]
    asked = prompts(server, "executor")[-1][-1][1]
    assert SEATS in asked
    assert OPERA in asked
    assert second["calls"][0]["result"] == "832"
    assert len(prompts(server, "verifier")) == (1 if checks == "on" else 2)
    assert (re.search("rows", asked.replace(OPERA, "")) is None) == (checks == "on")
    assert (first["verdict"]["source"] == "rules") == (checks == "on")
    assert second["plan"]["tool_name"] == "python"
    assert len(prompts(server, "planner")) == state["usage"]["planner"]["calls"] == (1 if checks == "on" else 2)
    assert state["answer"] == ("832" if checks == "on" else "42")


async def test_a_planner_whose_tokens_are_captured_plans_every_step(serve: Serve) -> None:
    steps = [plan_text("look_up", "find the rows"), plan_text("python", "compute the seats")]
    planner = Capturing(messages=iter(steps))
    server = serve(executor=[calls_text({"name": "opera"}), PROGRAM], verifier=judged("832"))
    graph = build_graph(tools=[opera_tool(), "python"], models={"planner": planner})
    state = await graph.ainvoke({"question": SEATS}, context=Context(model=server.spec, checks="on"))
    assert [turn["text"] for turn in state["planner_turns"]] == [turn["reply"] for turn in state["memory"]] == steps


@pytest.mark.parametrize("question", [SEATS, f"{SEATS[:-1]}, rounded to one decimal?", f"{SEATS} Round to 2 decimals."])
async def test_what_a_question_names_is_looked_up_before_a_program_is_written(serve: Serve, question: str) -> None:
    server = serve(planner=plan_text("python", "compute the seats"), executor=PROGRAM, verifier=judged("832"))
    context = Context(model=server.spec, checks="on")
    state = await build_graph(tools=["python", opera_tool()]).ainvoke({"question": question}, context=context)
    refused, found, computed = state["memory"]
    assert "look that up first" in refused["observation"]
    assert found["calls"][0]["arguments"] == {"name": question}
    assert computed["calls"][0]["result"] == state["answer"] == "832"
    assert [len(server.asked(role)) for role in ("planner", "executor", "verifier")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("question", "tools"),
    [
        ("How many days are there from 3 March 2021 to 17 May 2024?", ["python", opera_tool()]),
        ("What is the sum of 26 and 32?", ["python", opera_tool()]),
        ("Who built the Opera of Valdane?", ["python", opera_tool()]),
        ("The Opera has 26 rows of 32 seats. How many seats does the Opera have?", ["python", opera_tool()]),
        (SEATS, ["python"]),
    ],
)
async def test_a_program_comes_first_where_nothing_can_be_looked_up(
    serve: Serve, question: str, tools: list[BaseTool | str]
) -> None:
    server = serve(planner=plan_text("python"), executor="```python\nprint(2 * 2)\n```", verifier=judged("4"))
    context = Context(model=server.spec, checks="on", max_turns=1)
    state = await build_graph(tools=tools).ainvoke({"question": question}, context=context)
    [turn] = state["memory"]
    assert server.asked("executor")
    assert "look that up first" not in turn["observation"]


async def test_a_refused_program_is_followed_by_one_search(serve: Serve) -> None:
    """The question asks for no amount, so a program may come first; what it lacks is looked up once."""
    made_up = "```python\nyear = 1841\nprint(year)\n```"
    server = serve(
        planner=[plan_text("python", "year of the Opera"), plan_text("python", "year of Valdane")],
        executor=made_up,
        verifier=judged("unknown", "the year"),
    )
    context = Context(model=server.spec, checks="on", max_turns=3)
    question = "When was the Opera of Valdane built?"
    state = await build_graph(tools=["python", opera_tool()]).ainvoke({"question": question}, context=context)
    assert [turn["plan"]["tool_name"] for turn in state["memory"]] == ["python", "look_up", "python"]
    assert len(server.asked("planner")) == 2


ROMAN = "Write the number 1994 in Roman numerals."
STATED = "```python\nprint('MCMXCIV')\n```"


@pytest.mark.parametrize("tools", [["python", "look_up"], ["look_up", "python"]])
async def test_a_run_ends_where_nothing_is_found_and_nothing_can_be_computed(serve: Serve, tools: list[str]) -> None:
    server = serve(planner=[plan_text(tool, tool) for tool in tools], executor=STATED, generator="Answer: MCMXCIV")
    context = Context(model=server.spec, checks="on")
    toolbox: list[BaseTool | str] = [opera_tool(**{"look_up": "", ROMAN: ""}), "python"]
    state = await build_graph(tools=toolbox).ainvoke({"question": ROMAN}, context=context)
    assert [turn["plan"]["tool_name"] for turn in state["memory"]] == tools
    assert (state["ended_by"], state["answer"]) == ("stuck", "MCMXCIV")


@pytest.mark.parametrize("checks", ["on", "off"])
async def test_a_program_that_failed_may_be_mended(serve: Serve, checks: str) -> None:
    """It was run, so the planner may ask for another; a strong planner always may."""
    failing = "```python\nprint(1994 // 0)\n```"
    server = serve(
        planner=[plan_text(tool, tool) for tool in ("python", "look_up", "python")],
        executor=[failing, calls_text({"name": "look_up"}), "```python\nprint(1994 // 2)\n```"]
        if checks == "off"
        else [failing, failing, "```python\nprint(1994 // 2)\n```"],
        verifier=judged("997"),
    )
    context = Context(model=server.spec, checks=checks)  # type: ignore[arg-type]
    state = await build_graph(tools=[opera_tool(look_up=""), "python"]).ainvoke(
        {"question": "What is half of 1994?"}, context=context
    )
    assert [turn["plan"]["tool_name"] for turn in state["memory"]] == ["python", "look_up", "python"]
    assert state["ended_by"] == "verifier"


async def test_a_name_that_no_passage_tells_is_searched_for_by_itself(serve: Serve) -> None:
    server = serve(
        planner=plan_text("look_up", "find how large Valdane is"),
        executor="```python\nsarn = 905\nvaldane = 640\nprint(sarn - valdane)\n```",
        verifier=judged("265"),
    )
    tool = opera_tool(Sarn="Sarn covers 905 square kilometres.", **{"find how large Valdane is": "Valdane covers 640."})
    question = "By how many square kilometres is Sarn larger than Valdane?"
    context = Context(model=server.spec, checks="on")
    state = await build_graph(tools=[tool, "python"]).ainvoke({"question": question}, context=context)
    assert [turn["plan"]["sub_goal"] for turn in state["memory"][:2]] == ["find how large Valdane is", "Find Sarn"]
    assert (state["answer"], len(server.asked("planner")), len(server.asked("verifier"))) == ("265", 1, 1)


AGE = "How old was Ada Lovelace when she died?"
DIED = "Ada Lovelace died at 36."


async def test_the_last_turn_is_judged(serve: Serve) -> None:
    server = serve(planner=plan_text("look_up", "find how old Ada Lovelace was"), verifier=judged("36"))
    tools: list[BaseTool | str] = [opera_tool(**{"find how old Ada Lovelace was": DIED}), "python"]
    context = Context(model=server.spec, checks="on", max_turns=1)
    state = await build_graph(tools=tools).ainvoke({"question": AGE}, context=context)
    assert (state["ended_by"], state["memory"][0]["verdict"]["missing"]) == ("verifier", "")
    assert server.asked("verifier")


@pytest.mark.parametrize(
    ("prompts", "asked"),
    [
        ({"verifier": "You check each step and reject what is doubtful."}, [2, 2]),
        ({"planner": "You are the planner of an agent: name the next step."}, [2, 1]),
        ({}, [1, 1]),
    ],
)
async def test_nothing_is_foreseen_for_a_role_with_its_own_prompt(
    serve: Serve, prompts: dict[str, str], asked: list[int]
) -> None:
    server = serve(
        planner=[plan_text("look_up", "find how old Ada Lovelace was"), plan_text("python", "compute it")],
        executor="```python\nage = 36\nprint(age)\n```",
        verifier=[*([judged("unknown", "the age")] if "verifier" in prompts else []), judged("36")],
    )
    tools: list[BaseTool | str] = [opera_tool(**{"find how old Ada Lovelace was": DIED}), "python"]
    graph = build_graph(tools=tools, prompts=prompts)
    state = await graph.ainvoke({"question": AGE}, context=Context(model=server.spec, checks="on"))
    assert len(state["memory"]) == 2
    assert [len(server.asked(role)) for role in ("planner", "verifier")] == asked


async def test_only_a_search_in_plain_words_is_foreseen(serve: Serve) -> None:
    def read_url(url: str) -> str:
        """Read a page."""
        return "[1] Page (http://x)\nThe bridge has 26 arches."

    page = StructuredTool.from_function(read_url, metadata={"card": ToolCard(input="a page", quotes_sources=True)})
    server = serve(
        planner=plan_text("read_url", "Read the page"), executor=calls_text({"url": "http://x"}), verifier=judged("26")
    )
    question = "How many arches does the viaduct of Batty Moss have?"
    context = Context(model=server.spec, checks="on", max_turns=2)
    state = await build_graph(tools=[page, "python"]).ainvoke({"question": question}, context=context)
    assert [turn["plan"]["tool_name"] for turn in state["memory"]] == ["read_url"]

    evidence = Evidence(question, ("The bridge has 26 arches.",), (), passages=True, computes_with="python")
    assert program_next(evidence) is None
    foreseen = program_next(replace(evidence, tool="read_url", searches_with="look_up"))
    assert foreseen is not None
    assert (foreseen.next_step.tool, foreseen.next_step.sub_goal) == ("look_up", "Find Batty Moss")


def test_too_many_names_are_left_to_the_models() -> None:
    names = ["Ada", "Bob", "Cleo", "Dora", "Emil", "Fred", "Gina"]
    for count, foreseen in ((6, "a result about Ada and Bob and Cleo and Dora and Emil and Fred"), (7, None)):
        assert missing(f"Who is the oldest of {', '.join(names[:count])}?", "nothing") == foreseen


@pytest.mark.parametrize(
    ("question", "code", "answer"),
    [
        ("How many letters are in the name Alexander?", "print(len('Alexander'))", "9"),
        (
            "How many distinct permutations does Mississippi have?",
            "from math import factorial as f\nw = 'Mississippi'\nprint(f(len(w)) // f(4) ** 2 // f(2))",
            "34650",
        ),
        (
            "What is the sum of the Roman numerals MCM and XII?",
            "v = {'I': 1, 'V': 5, 'X': 10, 'C': 100, 'D': 500, 'M': 1000}\n"
            "def value(s):\n    return sum(-v[a] if v[a] < v.get(b, 0) else v[a] for a, b in zip(s, s[1:] + ' '))\n"
            "print(value('MCM') + value('XII'))",
            "1912",
        ),
    ],
)
async def test_a_program_about_a_word_needs_no_search(serve: Serve, question: str, code: str, answer: str) -> None:
    server = serve(
        planner=plan_text("python", "compute it"), executor=f"```python\n{code}\n```", verifier=judged(answer)
    )
    context = Context(model=server.spec, checks="on")
    state = await build_graph(tools=["python", opera_tool()]).ainvoke({"question": question}, context=context)
    assert [turn["plan"]["tool_name"] for turn in state["memory"]] == ["python"]
    assert state["answer"] == answer


def test_a_long_question_is_read_in_a_moment() -> None:
    for part in ("who which ", "same than ", "how in the order ", "a"):
        began = time.perf_counter()
        is_computed(part * (200_000 // len(part)))
        assert time.perf_counter() - began < 1
