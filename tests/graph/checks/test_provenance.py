"""Literals of a call must come from the question or a result, or be customary."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from graph.checks.amounts import amounts_in
from graph.checks.customary import is_customary
from graph.checks.literals import literals_of
from graph.checks.provenance import Sources, invented, invented_in_values

PROGRAMS = list(map(json.loads, (Path(__file__).parent / "programs.jsonl").read_text(encoding="utf-8").splitlines()))
"""Fifty programs with invented facts and fifty honest ones; the rule was written while looking at the half `look`."""


def made_up(code: str, *texts: str) -> list[str]:
    return [str(literal) for literal in invented(code, Sources.of(texts))]


@pytest.mark.parametrize(("half", "most_missed", "most_alarms"), [("look", 0, 0), ("held", 1, 0)])
def test_programs_with_invented_facts_are_told_from_honest_ones(half: str, most_missed: int, most_alarms: int) -> None:
    cases = [case for case in PROGRAMS if case["half"] == half]
    refused = {
        kind: [
            bool(made_up(case["code"], case["question"], *case["results"])) for case in cases if case["kind"] == kind
        ]
        for kind in ("invented", "honest")
    }
    assert len(refused["invented"]) == len(refused["honest"]) == 25
    assert refused["invented"].count(False) <= most_missed
    assert refused["honest"].count(True) <= most_alarms


def test_long_literals_are_named_in_short() -> None:
    [named] = made_up(f"{'name' * 5000} = {'We met Xaver Quill. ' * 800!r}")
    assert named.startswith("namename")
    assert len(named) < 200


def test_what_is_refused_is_named() -> None:
    assert made_up("birth = 1832\nopened = 1889\nprint(opened - birth)", "opened in 1889") == ["birth = 1832"]
    assert made_up("founded = {'Lyon': 43}\nprint(founded)", "Is Lyon old?") == ["Lyon = 43"]
    assert made_up("def area(width=35):\n    return width * 7") == ["width = 35"]
    assert made_up("a, b = 42, 43", "42 of them") == []  # next to a number of the question: a bound
    assert made_up("a, b = 42, 47", "42 of them") == ["b = 47"]


@pytest.mark.parametrize(
    "code",
    [
        "print('Prime' if n % 2 else 'Even')",
        "print('Total Amount:', 3)",
        "for month in range(1, 13):\n    print(f'Month {month}')",
        '"""The Eiffel Tower of 1889."""\nprint(1)',
        "from decimal import getcontext\ngetcontext().prec = 48",
        "import random\nrandom.seed(42)",
        "print('%05d' % 3, '{:>17}'.format(3), f'{3:23.4f}')",
        "print(datetime.now().strftime('%d %B %Y'))",
        "n = 0\nwhile n < 70000:\n    n += 1",
        "coins = [1, 2, 5, 10, 20, 50]",
        "print(float('inf'), 1e999, -0.0, True, None, b'1832', ...)",
        "print(",
        "",
    ],
)
def test_what_is_customary_in_programs_is_left_alone(code: str) -> None:
    assert made_up(code, "How many?") == []


@pytest.mark.parametrize(
    ("code", "literals"),
    [
        ("print('Sophie Laurent')", ["'Sophie Laurent'"]),
        ("answer = 'Sophie'", ["answer = 'Sophie'"]),
        ("def f():\n    return 'Sophie Laurent'", ["'Sophie Laurent'"]),
        ("'It was Sophie Laurent.'", ["'It was Sophie Laurent.'"]),
        ("when = '14 March 1879'", ["when = '14 March 1879'"]),
        ("d = date.fromisoformat('1879-03-14')", ["d = '1879-03-14'"]),
        ("if year == 1879: pass", ["1879"]),
        ("x = -1879.5", ["x = 1879.5"]),
        ("x = 0x757", ["x = 1879"]),
        ("rate = 0.043", ["rate = 0.043"]),
    ],
)
def test_made_up_facts_are_found_wherever_they_stand(code: str, literals: list[str]) -> None:
    assert made_up(code, "When was she born, on 3.5 percent of the 2 million?") == literals


def test_arguments_of_other_tools_are_held_to_the_same() -> None:
    sources = Sources.of(["How far is it from Lima to Cusco in 1890?"])

    def refused(**arguments: object) -> list[str]:
        return [str(literal) for literal in invented_in_values(arguments, sources)]

    assert refused(place="Lima", year=1890, limit=50, deep={"list": [1890, "Cusco"]}) == []
    assert refused(place="Quito") == ["place = 'Quito'"]
    assert refused(query={"years": [1890, 1917]}) == ["years = 1917"]
    assert refused(expression="1917 - 1890") == ["expression = '1917 - 1890'"]
    assert refused(url="https://example.org/Quito/17", path="docs/Quito.txt", flag=True, nothing=None) == []


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ("Which number is MCMXCIV?", "v = {'I': 1, 'V': 5, 'X': 10, 'L': 50, 'C': 100, 'D': 500, 'M': 1000}"),
        ("It runs at 60 mph for 2 hours and 30 minutes. How far?", "print(60 * 2.5)"),
        ("It flies 3 h 20 min.", "print(200 / 60)"),
        ("What is 7 1/2 times 3?", "print(7.5 * 3)"),
        ("What is a third, 1/3, of it?", "print(0.333)"),
        ("What is the volume of a sphere of diameter 9?", "print(4 / 3 * pi * 4.5 ** 3)"),
        ("A salary of 52k rises by 3%.", "print(52000 * 1.03)"),
        ("A 1.5M loan at 3%", "print(1500000 * 0.03)"),
        ("Revenue was $3.2bn and costs $2.75bn.", "print(3200000000 - 2750000000)"),
        ("How long does light take for 150 million km?", "print(1.5e11 / 3e8, 150e6 / 299792.458)"),
        ("What is 2^20 in words?", "n = 1048576"),
        ("A city has 12,34,567 people.", "print(1234567 * 0.1)"),
        ("A city has 1'234'567 people.", "print(1234567 * 0.1)"),
        ("The limit is 2_500_000.", "print(2500000 / 3)"),
        ("A loaf costs 3,50 euros.", "print(3.5 * 4)"),
        ("A car costs 12.500 euros.", "print(12500 * 3)"),
        ("A house costs 1.250.000,75 euros.", "print(1250000.75 * 3)"),
        ("What is 2¾ times 12.4?", "print(2.75 * 12.4)"),
        ("Is 4539 1488 0343 6467 a valid card?", "d = [int(x) for x in '4539148803436467']"),
        ("Is 978-3-16-148410-0 a valid ISBN?", "d = '9783161484100'"),
        ("What weekday is 1 May 2025?", "t = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']\nt[2]"),
        ("Which month is it?", "['Jan', 'Feb', 'Mar', 'Apr', 'Jun', 'Jul', 'Aug', 'Sept', 'Oct', 'Nov', 'Dec'][3]"),
    ],
)
def test_a_number_may_stand_in_a_program_in_another_form(question: str, code: str) -> None:
    assert made_up(code, question) == []


@pytest.mark.parametrize(
    ("question", "code", "literals"),
    [
        ("Is Lyon larger than Paris?", "p = {'Lyon': 50, 'Paris': 500}", ["Lyon = 50", "Paris = 500"]),
        ("Is A older?", "p = {1: 50, 2: 100, 3: 500, 4: 17, 5: 1832}", ["p = 50", "p = 500", "p = 17", "p = 1832"]),
        ("It takes 2 hours and 30 minutes.", "t = 2.75", ["t = 2.75"]),
        ("A salary of 52k", "s = 56000", ["s = 56000"]),
        ("How long does light take?", "d = 149597870", ["d = 149597870"]),
        ("A loaf costs 3,50 euros.", "print(35.5 * 4, 4.5)", ["35.5", "4.5"]),
        ("Is it 13,7,15?", "x = 143.7", ["x = 143.7"]),
        ("Which planet is it?", "planet = 'Mars'", ["planet = 'Mars'"]),
    ],
)
def test_another_number_is_made_up_in_every_form(question: str, code: str, literals: list[str]) -> None:
    assert made_up(code, question) == literals


def test_deeply_nested_literals_are_read_once() -> None:
    depth = 60
    literals = literals_of("d = " + "{'a': " * depth + "17" + "}" * depth)
    assert sum(literal.value == 17 for literal in literals) == 1


WORDS = {21: "twenty-one", 40: "forty", 300: "three hundred", 1250: "one thousand two hundred and fifty", 12: "a dozen"}


@pytest.mark.parametrize(("number", "words"), WORDS.items())
def test_numbers_may_be_told_in_words(number: int, words: str) -> None:
    assert made_up(f"x = {number}", f"There are {words} of them.") == []


def in_text(number: int) -> st.SearchStrategy[str]:
    return st.sampled_from([f"{number}", f"{number:,}", f"{number:,}".replace(",", " "), f"{number}.0", f"-{number}"])


def in_code(number: int) -> st.SearchStrategy[str]:
    return st.sampled_from(
        [f"{number}", f"{number:_}", f"-{number}", f"{number}.0", f"{number:e}" if number < 10**6 else f"{number}",
         f"'{number:,}'", f"'{number}'", f"Decimal('{number}')", f"{number / 100!r}", hex(number), f"{{'n': {number}}}"]
    )  # fmt: skip


@given(
    st.data(), st.integers(0, 10**9), st.sampled_from(["{} percent of it", "It has {}.", "({})", "a{}b", "x={},y=2"])
)
def test_a_number_of_the_question_is_never_refused(data: st.DataObject, number: int, frame: str) -> None:
    question = "5 %: " + frame.format(data.draw(in_text(number)))
    assert made_up(f"value = {data.draw(in_code(number))}\nprint(value)", question) == []


@given(st.data(), st.integers(2013, 10**9), st.integers(0, 9))
def test_a_number_from_nowhere_is_always_refused(data: st.DataObject, number: int, other: int) -> None:
    code = data.draw(in_code(number))
    values = [literal.value for literal in literals_of(f"x = {code}") if isinstance(literal.value, Decimal)]
    if not any(map(is_customary, [*values, Decimal(number)])):
        assert made_up(f"value = {code}", f"There are {other} of them.") != []


@given(
    st.dates(date(1000, 1, 1), date(2100, 12, 31)),
    st.sampled_from(["%d %B %Y", "%B %d, %Y", "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%A, %d %b %Y"]),
    st.sampled_from(
        ["datetime({0.year}, {0.month}, {0.day})", "'{0:%Y-%m-%d}'", "'{0:%d/%m/%Y}'", "({0.day}, '{0:%B}')"]
    ),
)
def test_a_date_of_the_question_is_never_refused(day: date, in_question: str, written: str) -> None:
    assert made_up(f"d = {written.format(day)}", f"What happened on {day.strftime(in_question)}?") == []


@given(st.text(max_size=200), st.text(max_size=200))
@example("10000000000000000000000000001", "")
@example("1e99999999999999999999", "2 * 10^999999999999999999 and 1e-99999999999999999999")
def test_no_text_breaks_it(code: str, source: str) -> None:
    assert isinstance(made_up(code, source), list)
    assert all(amount >= 0 for amount in amounts_in(source))
    assert isinstance(invented_in_values({"text": code}, Sources.of([source])), list)
