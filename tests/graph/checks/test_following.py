"""What results bring up is searched for: names in a program, and names beside a repeated step."""

from __future__ import annotations

import pytest
from langchain_core.tools import BaseTool, StructuredTool

from graph import Context, build_graph
from graph.checks.evidence import Evidence
from graph.checks.following import name_after_repetition
from graph.state import Failure
from tests.graph.conftest import Serve, judged, plan_text
from tools.card import ToolCard


def found(passages: dict[str, str]) -> BaseTool:
    def look_up(name: str) -> str:
        """Look something up."""
        return passages[name.removeprefix("Find ")]

    card = ToolCard(input="a name", quotes_sources=True, plain_words=True)
    return StructuredTool.from_function(look_up, metadata={"card": card})


BIRTHPLACE = "How many inhabitants does the birthplace of Marit Lowe have?"
MAYOR = """[1] Marit Lowe
Marit Lowe was born in Ostby and is mayor of Skerrow.
[2] Skerrow
Skerrow has 8,150 inhabitants and a mayor, Marit Lowe."""
VILLAGE = "[1] Ostby\nOstby is a village with 640 inhabitants."
WRONG = '```python\nbirthplace = "Ostby"\npopulation = 8150\nprint(population)\n```'


@pytest.mark.parametrize(
    ("first", "steps"),
    [
        (WRONG, ["look_up", "python", "look_up", "python"]),
        ('```python\nprint("Ostby")\n```', ["look_up", "python", "look_up", "python"]),
        ('```python\nmayor = "Marit Lowe"\ntown = "Skerrow"\nprint(640)\n```', ["look_up", "python"]),
        ('```python\nday = "Monday"\nkind = "village"\nprint(8150)\n```', ["look_up", "python"]),
    ],
)
async def test_what_a_program_names_and_no_passage_is_about_is_looked_up(
    serve: Serve, first: str, steps: list[str]
) -> None:
    second = "```python\npopulation = 640\nprint(population)\n```"
    server = serve(planner=plan_text("look_up", BIRTHPLACE), executor=[first, second], verifier=judged("640"))
    tools = [found({BIRTHPLACE: MAYOR, "Ostby": VILLAGE}), "python"]
    state = await build_graph(tools=tools).ainvoke(
        {"question": BIRTHPLACE}, context=Context(model=server.spec, checks="on", max_turns=5)
    )
    assert [turn["plan"]["tool_name"] for turn in state["memory"]][: len(steps)] == steps
    followed = state["memory"][1]["verdict"]["missing"] == "more about Ostby"
    assert followed == (len(steps) > 2)
    if followed:
        assert len(server.asked("planner")) == 1
        assert state["memory"][2]["calls"][0]["arguments"] == {"name": "Find Ostby"}
        assert not state["memory"][1]["verdict"]["accepted"]
        assert state["answer"] == "640"


async def test_one_name_is_followed_once(serve: Serve) -> None:
    server = serve(planner=plan_text("look_up", BIRTHPLACE), executor=WRONG, verifier=judged("8150"))
    tools = [found({BIRTHPLACE: MAYOR, "Ostby": VILLAGE.replace("[1] Ostby", "[1] A village")}), "python"]
    state = await build_graph(tools=tools).ainvoke(
        {"question": BIRTHPLACE}, context=Context(model=server.spec, checks="on")
    )
    assert len(state["memory"]) == 4
    assert state["ended_by"] == "verifier"


FOUNDER = "In which town was the founder of the Sorrel Brewery born?"
BREWERY = """[1] Sorrel Brewery
The Sorrel Brewery in Fennick was founded in 1867 by Jonas Quill. It employs 180 people of Marrow Hill.
[2] River Sorrel
The River Sorrel is long; it was crossed by Ida Renk."""


async def test_a_repeated_search_is_followed_by_one_for_the_name_that_was_found(serve: Serve) -> None:
    server = serve(planner=plan_text("look_up", FOUNDER), verifier=[judged("unknown", "the town"), judged("Oakhythe")])
    tools = [found({FOUNDER: BREWERY, "Jonas Quill": "[1] Jonas Quill\nJonas Quill was born in Oakhythe."})]
    state = await build_graph(tools=tools).ainvoke(
        {"question": FOUNDER}, context=Context(model=server.spec, checks="on")
    )
    first, again, second = state["memory"]
    assert first["verdict"]["accepted"]
    assert again["error"] is not None
    assert again["error"]["kind"] == "repeat"
    assert second["calls"][0]["arguments"] == {"name": "Find Jonas Quill"}
    assert (state["answer"], len(server.asked("planner"))) == ("Oakhythe", 2)


def searched_for(question: str, *results: str, kind: str = "repeat", asked_for: tuple[str, ...] = ()) -> str | None:
    evidence = Evidence(
        question, (), results, passages=True, asked_for=asked_for, searches_with="look_up", searched=True,
        failed=Failure(kind=kind, message="m"),  # type: ignore[typeddict-item]
    )  # fmt: skip
    foreseen = name_after_repetition(evidence)
    return None if foreseen is None or foreseen.next_step is None else foreseen.next_step.sub_goal


def test_which_name_is_followed() -> None:
    assert searched_for(FOUNDER, BREWERY) == "Find Jonas Quill"
    assert searched_for(FOUNDER, BREWERY.replace("Jonas Quill", "Quill")) == "Find Fennick and Quill"
    assert searched_for("How long is the River Sorrel in Vale?", BREWERY) == "Find Ida Renk"
    assert searched_for(FOUNDER, BREWERY.replace("by Jonas Quill", "").replace("in Fennick ", "")) == "Find Ida Renk"


ONE = "[1] Sorrel Brewery\nThe Sorrel Brewery was founded in 1867 by Jonas Quill."


@pytest.mark.parametrize(
    ("question", "result"),
    [
        (FOUNDER, ONE.replace("Jonas Quill", "a monk")),
        (FOUNDER, f"{ONE}\n[2] Jonas Quill\nHe was a brewer."),
        (FOUNDER.replace("founder", "founder Jonas Quill"), ONE),
        (FOUNDER, ONE.partition("\n")[2]),  # without titles nothing tells what it is about
        ("In welcher Stadt wurde der Gründer der Brauerei Sorrel geboren?", ONE),
        (FOUNDER, ""),
    ],
)
def test_where_no_name_is_followed(question: str, result: str) -> None:
    assert searched_for(FOUNDER, ONE) == "Find Jonas Quill"
    assert searched_for(question, result) is None


def test_a_name_is_followed_once_and_only_after_a_repetition() -> None:
    assert searched_for(FOUNDER, ONE, asked_for=("the town", "more about Jonas Quill")) is None
    assert searched_for(FOUNDER, BREWERY, kind="arguments") is None
