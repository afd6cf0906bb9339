"""A program may not take what a result tells of one thing for another."""

from __future__ import annotations

from typing import cast

import pytest

from graph.checks.arguments import Proposal
from graph.checks.things import value_of_another_thing
from graph.state import State
from tools.python import make_python_tool

PYTHON = make_python_tool()
TOWNS = (
    "[1] Brimble (towns.jsonl#1)\nBrimble is a town on the Aune. It was founded in 1402 and has 3,900 inhabitants.\n"
    "[2] Harl (towns.jsonl#2)\nHarl has a paper mill. The mill of Harl was founded in 1866 by Ina Voss."
)
MILL = "[1] Paper mill\nIn 2018 the mill made 36,400 tonnes of paper with 91 workers; 40 percent of it was sold abroad."
QUARRY = "[1] Quarry\nIn 2018 the three quarries produced 8,700 tonnes, of which 65 percent were exported by ship."


def complaint(code: str, question: str, *results: str) -> str | None:
    calls = [{"arguments": {}, "result": result, "error": None, "seconds": 0.0} for result in results]
    turn = {"plan": {"tool_name": "look_up"}, "calls": calls, "verdict": {"accepted": True}}
    state = cast("State", {"question": question, "messages": [], "memory": [turn]})
    return value_of_another_thing(Proposal(PYTHON, [{"code": code}], state))


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "founded_brimble = 1402\nyear_founded_harl = 1402\nprint(year_founded_harl)",
            "The mill of Harl was founded in 1866 by Ina Voss",
        ),
        ("brimble = 1866\nprint(1990 - brimble)", "It was founded in 1402 and has 3,900 inhabitants"),
        ("age_of_voss = 3900\nprint(age_of_voss)", "The mill of Harl was founded in 1866 by Ina Voss"),
    ],
)
def test_the_value_of_another_name(code: str, told: str) -> None:
    said = complaint(code, "How many years after Brimble was the mill of Harl founded?", TOWNS)
    assert said is not None
    assert told in said


@pytest.mark.parametrize(
    ("code", "result", "clause"),
    [
        ("tonnes_sold_abroad = 36400\nprint(tonnes_sold_abroad)", MILL, "40 percent of it was sold abroad"),
        ("exported_by_ship = 8700\nprint(exported_by_ship)", QUARRY, "65 percent were exported by ship"),
    ],
)
def test_the_value_of_another_clause(code: str, result: str, clause: str) -> None:
    said = complaint(code, "How many tonnes were sold abroad in 2018?", result)
    assert said is not None
    assert f"but the results say of that: {clause}. Compute" in said


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("founded_brimble = 1402\nfounded_harl = 1866\nprint(founded_harl - founded_brimble)", TOWNS),
        ("mill = 1866\ntown = 1402\nprint(mill - town)", TOWNS),
        ("inhabitants_of_brimble = 3900\nprint(inhabitants_of_brimble)", TOWNS),
        ("tonnes_made = 36400\nshare_sold_abroad = 0.40\nprint(tonnes_made * share_sold_abroad)", MILL),
        ("tonnes_sold_abroad = 36400 * 0.4\nprint(tonnes_sold_abroad)", MILL),
        ("workers_of_harl = 12345\nprint(workers_of_harl)", TOWNS),
        ("harl = 1990\nprint(harl)", TOWNS + "\n[3] Dates\nIn 1990 nothing happened."),
        ("harl = 0\nfor year in range(10):\n    harl += year\nprint(harl)", TOWNS),
        ("harl = (", TOWNS),
        ("harl = 1402", ""),
    ],
)
def test_what_is_no_mistake(code: str, result: str) -> None:
    assert complaint(code, "How many years before 1990 was the mill of Harl founded?", result) is None


def test_other_tools_and_other_languages_are_left_alone() -> None:
    code = "jahr_harl = 1402\nprint(jahr_harl)"
    assert complaint(code, "Wie viele Jahre nach Brimble wurde die Mühle von Harl gegründet?", TOWNS) is None
    assert complaint(code, "In which year was the mill of Harl founded?", TOWNS) is not None


def test_a_number_of_thousands_of_digits_is_told_briefly() -> None:
    digits = "7" * 4000
    said = complaint(f"harl = {digits}", "How old is Harl?", TOWNS + f"\n[3] Pi\nIt begins with {digits}.")
    assert said is not None
    assert len(said) < 1200
